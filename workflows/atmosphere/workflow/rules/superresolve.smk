# An ensemble of fine fields a sample, with its sidecar.
rule superresolve:
    input:
        coarse=given("coarse"),
        observations=given("observations"),
        shared=SHARED,
    output:
        # A zarr result is a folder.
        fields=directory(FIELDS) if config["format"] == "zarr" else FIELDS,
        sidecar=FIELDS + ".json",
    params:
        options=words(config["superresolve"]),
        observations=lambda wildcards: words({"observations": SAMPLES[wildcards.sample].get("observations")}),
    log:
        "results/logs/superresolve/{sample}.log",
    threads: config["threads"]
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein atmosphere superresolve {input.coarse:q} --output {output.fields:q} --overwrite"
        " {params.options:q} {params.observations:q} 2> {log:q}"
