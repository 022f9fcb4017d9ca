# The graphs of one job, with their sidecar.
rule generate:
    output:
        graphs=GRAPHS,
        sidecar=GRAPHS + ".json",
    params:
        n=cell("n"),
        seed=cell("seed"),
        options=asked,
    log:
        "results/logs/generate/{name}.log",
    threads: config["threads"]
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein graph generate --output {output.graphs:q} --overwrite -n {params.n:q} --seed {params.seed:q}"
        " {params.options:q} 2> {log:q}"
