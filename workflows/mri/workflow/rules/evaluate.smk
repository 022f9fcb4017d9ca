# The measures of the scans that have a reference.
rule evaluate:
    input:
        image=IMAGE,
        reference=given("reference"),
    output:
        MEASURES,
    params:
        options=words(config["evaluate"]),
        reference=lambda wildcards: SAMPLES[wildcards.sample]["reference"],
    log:
        "results/logs/evaluate/{sample}.log",
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein evaluate mri {input.image:q} {params.reference:q} --json {params.options:q}"
        " > {output:q} 2> {log:q}"
