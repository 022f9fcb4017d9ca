# The measures of the jobs that have a reference. Status 7 says that rows of a file cannot be read, which the log names: the
# others were measured.
rule evaluate:
    input:
        molecules=MOLECULES,
        sidecar=MOLECULES + ".json",
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
        "ornstein evaluate molecule {input.molecules:q} {input.reference:q} --json {params.train:q} {params.options:q}"
        " > {output:q} 2> {log:q} || test $? -eq 7"
