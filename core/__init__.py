"""One diffusion core: paths, denoisers, solvers, inverse problems, networks and training, free of any science."""
