# The configuration and the sample sheet, checked before anything runs, and what the rules ask of them.
import csv

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate


def read_jobs(path):
    """{name: {column: value}} of a sample sheet; empty cells are left out."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        # No quoting: a cell is what stands between two tabs, so that none can hold a line break.
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restkey="further cells"))
    jobs = {}
    for number, row in enumerate(rows, 2):
        row = {column: value for column, value in row.items() if value}
        if not row:
            continue
        try:
            validate(row, "../schemas/samples.schema.yaml")
        except WorkflowError as error:
            raise WorkflowError(f"{path}, line {number}: {error}") from None
        if row["name"] in jobs:
            raise WorkflowError(f"{path}, line {number}: job {row['name']} is there twice")
        jobs[row["name"]] = row
    if not jobs:
        raise WorkflowError(f"{path}: no jobs")
    return jobs


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


def cell(column):
    """A function of the wildcards: the job's cell of a column, none where it is empty."""
    return lambda wildcards: JOBS[wildcards.name].get(column, [])


def asked(wildcards):
    """The options of a job: those of all jobs, and its own model, which wins."""
    job = JOBS[wildcards.name]
    return words(config["generate"] | {column: job[column] for column in ("model",) if column in job})


validate(config, "../schemas/config.schema.yaml")
JOBS = read_jobs(config["samples"])
REFERENCED = [name for name, job in JOBS.items() if "reference" in job]

GRAPHS = "results/samples/{name}/{name}.json"
# Not measures.json, which would be the graphs of a job of that name.
MEASURES = "results/samples/{name}/{name}-measures.json"


wildcard_constraints:
    name="[A-Za-z0-9][A-Za-z0-9._-]*",
