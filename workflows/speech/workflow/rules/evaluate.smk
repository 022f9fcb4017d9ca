# The measures of the recordings that have a reference.
rule evaluate:
    input:
        sound=SOUND,
        reference=given("reference"),
        recording=given("recording"),
    output:
        MEASURES,
    log:
        "results/logs/evaluate/{sample}.log",
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein evaluate speech {input.sound:q} {input.reference:q} --input {input.recording:q} --json"
        " > {output:q} 2> {log:q}"
