# A model of one's own, on request only: snakemake results/trained. Its folder, which the configuration names, is then
# `model` in config.yaml.
rule train:
    input:
        config["train"]["configuration"],
    output:
        touch("results/trained"),
    log:
        "results/logs/train.log",
    threads: config["threads"]
    shell:
        "ornstein train {input:q} > {log:q} 2>&1"
