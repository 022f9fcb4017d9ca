# One volume a scan, with its standard deviation where the method gives one, and its sidecar.
DRAWS = config["reconstruct"]["method"] == "diffusion" and config["reconstruct"].get("samples") != 1


rule reconstruct:
    input:
        kspace=given("kspace"),
        sensitivities=given("sensitivities"),
    output:
        image=IMAGE,
        sidecar=IMAGE + ".json",
        **({"deviation": DEVIATION} if DRAWS else {}),
    params:
        options=words(config["reconstruct"]),
        kspace=lambda wildcards: SAMPLES[wildcards.sample]["kspace"],
        sensitivities=lambda wildcards: words({"sensitivities": SAMPLES[wildcards.sample].get("sensitivities")}),
    log:
        "results/logs/reconstruct/{sample}.log",
    threads: config["threads"]
    resources:
        mem_mb=config["memory_mb"],
    shell:
        "ornstein mri reconstruct {params.kspace:q} --output {output.image:q} --overwrite"
        " {params.options:q} {params.sensitivities:q} 2> {log:q}"
