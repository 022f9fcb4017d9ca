"""What a user calls: a file or an array in, checked, run in bounded memory, a result with its provenance out."""
