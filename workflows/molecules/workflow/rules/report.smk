# One page and one table about all jobs.
rule report:
    input:
        molecules=expand(MOLECULES, name=JOBS),
        measures=expand(MEASURES, name=REFERENCED),
    output:
        page="results/report.html",
        table="results/measures.tsv",
    params:
        options=words(config["report"]),
    log:
        "results/logs/report.log",
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein workflow report molecule {input.molecules:q} {input.measures:q}"
        " --output {output.page:q} --table {output.table:q} --overwrite {params.options:q} > {log:q} 2>&1"
