# The configuration and the sample sheet, checked before anything runs, and what the rules ask of them.
import csv

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate


def read_samples(path):
    """{sample: {column: value}} of a sample sheet; empty cells are left out."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        # No quoting: a cell is what stands between two tabs, so that none can hold a line break.
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restkey="further cells"))
    samples = {}
    for number, row in enumerate(rows, 2):
        row = {column: value for column, value in row.items() if value}
        if not row:
            continue
        try:
            validate(row, "../schemas/samples.schema.yaml")
        except WorkflowError as error:
            raise WorkflowError(f"{path}, line {number}: {error}") from None
        if row["sample"] in samples:
            raise WorkflowError(f"{path}, line {number}: sample {row['sample']} is there twice")
        samples[row["sample"]] = row
    if not samples:
        raise WorkflowError(f"{path}: no samples")
    return samples


def words(options):
    """Options of the command line from the configuration: {max_memory: 6} is --max-memory 6."""
    made = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            made.append(flag)
        elif value is not False and value is not None:
            made.append(f"{flag}={value}")
    return made


def given(column):
    """A function of the wildcards: the sample's file of a column, none where the cell is empty."""
    return lambda wildcards: SAMPLES[wildcards.sample].get(column, [])


validate(config, "../schemas/config.schema.yaml")
SAMPLES = read_samples(config["samples"])
REFERENCED = [sample for sample, row in SAMPLES.items() if "reference" in row]

FIELDS = "results/samples/{sample}/{sample}." + config["format"]
MEASURES = "results/samples/{sample}/measures.json"
# Files that all samples share.
SHARED = [config["superresolve"][name] for name in ("grid", "climatology", "static") if name in config["superresolve"]]


wildcard_constraints:
    sample="[A-Za-z0-9][A-Za-z0-9._-]*",
