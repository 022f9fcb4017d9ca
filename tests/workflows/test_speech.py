"""The speech workflow: a sample sheet in, the right commands out, and nothing else."""

import json

import pytest
import soundfile

SHEET = "sample\trecording\treference\none\tmein (Büro)/a 1.wav\tdata/1.flac\ntwo\tdata/2.mp3\t\n"


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("mein (Büro)/a 1.wav", "data/1.flac", "data/2.mp3")
    study.configure(verb="dereverberate", format="wav", enhance={"method": "wpe", "mix": 0.8}, report={"pictures": 3})
    commands = study.plan("--workflow-profile", "profiles/local")
    assert len(commands) == 4
    made = {words[3]: words for words in commands if words[1] == "speech"}
    assert set(made) == {"mein (Büro)/a 1.wav", "data/2.mp3"}
    for words in made.values():
        assert words[2] == "dereverberate" and {"--method=wpe", "--mix=0.8", "--overwrite"} <= set(words)
    (evaluation,) = [words for words in commands if words[1] == "evaluate"]
    assert evaluation[3:7] == ["results/samples/one/one.wav", "data/1.flac", "--input", "mein (Büro)/a 1.wav"]
    (report,) = [words for words in commands if words[1:3] == ["workflow", "report"]]
    assert {"results/samples/two/two.wav", "results/samples/one/measures.json", "--pictures=3"} <= set(report)


@pytest.mark.slow
def test_two_recordings_become_sounds_measures_and_a_report(study):
    from ornstein.datasets.voice import synthetic_voice
    from ornstein.pipelines import speech

    (study.folder / "data").mkdir()
    clean = study.folder / "data" / "clean.wav"
    soundfile.write(clean, synthetic_voice(3.0), 16_000)
    for name, seed in (("a 1.wav", 1), ("a 2.wav", 2)):
        speech.simulate(str(clean), snr=5.0, seed=seed).save(study.folder / "data" / name)
    study.sheet("sample\trecording\treference\na\tdata/a 1.wav\tdata/clean.wav\nb\tdata/a 2.wav\t\n")
    results = study.run()
    assert soundfile.info(results / "samples" / "b" / "b.flac").frames == 48_000
    assert json.loads((results / "samples" / "a" / "measures.json").read_text())["si_sdr"] > 5.5  # 4.5 before
    page = (results / "report.html").read_text()
    assert page.count("<audio") >= 3 and page.count("data:image/png") >= 3
