# One recording a sample, with its sidecar.
rule enhance:
    input:
        recording=given("recording"),
    output:
        sound=SOUND,
        sidecar=SOUND + ".json",
    params:
        verb=config["verb"],
        options=words(config["enhance"]),
    log:
        "results/logs/enhance/{sample}.log",
    threads: config["threads"]
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein speech {params.verb:q} {input.recording:q} --output {output.sound:q} --overwrite"
        " {params.options:q} 2> {log:q}"
