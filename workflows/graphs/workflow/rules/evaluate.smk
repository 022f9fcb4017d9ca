# The measures of the jobs that have a reference.
rule evaluate:
    input:
        graphs=GRAPHS,
        reference=cell("reference"),
        train=cell("train"),
    output:
        MEASURES,
    params:
        train=lambda wildcards: words({"train": JOBS[wildcards.name].get("train")}),
        options=words(config["evaluate"]),
    log:
        "results/logs/evaluate/{name}.log",
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein evaluate graph {input.graphs:q} {input.reference:q} --json {params.train:q} {params.options:q}"
        " > {output:q} 2> {log:q}"
