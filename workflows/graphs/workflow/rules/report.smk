# One page and one table about all jobs.
rule report:
    input:
        graphs=expand(GRAPHS, name=JOBS),
        # By these the report knows the graphs from their measures, which are JSON, too.
        sidecars=expand(GRAPHS + ".json", name=JOBS),
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
        "ornstein workflow report graph {input.graphs:q} {input.measures:q}"
        " --output {output.page:q} --table {output.table:q} --overwrite {params.options:q} > {log:q} 2>&1"
