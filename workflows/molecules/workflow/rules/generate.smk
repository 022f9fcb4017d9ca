# The molecules of one job, with their sidecar.
rule generate:
    input:
        programs=programs,
    output:
        molecules=MOLECULES,
        sidecar=MOLECULES + ".json",
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
        "ornstein molecule generate --output {output.molecules:q} --overwrite -n {params.n:q} --seed {params.seed:q}"
        " {params.options:q} 2> {log:q}"
