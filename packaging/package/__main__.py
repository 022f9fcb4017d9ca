"""`python -m ornstein` is the command line."""

import sys

from ornstein.pipelines.cli import main

sys.exit(main())
