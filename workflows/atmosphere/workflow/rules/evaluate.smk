# The measures of the fields that have a reference.
rule evaluate:
    input:
        fields=FIELDS,
        reference=given("reference"),
        coarse=given("coarse"),
    output:
        MEASURES,
    log:
        "results/logs/evaluate/{sample}.log",
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein evaluate atmosphere {input.fields:q} {input.reference:q} --input {input.coarse:q} --json"
        " > {output:q} 2> {log:q}"
