"""Other people's quantizers on our float model: one module a peer, each with `make(inputs, out)`.

`make` writes files into `out` and returns nothing. It runs in a process of its own (`build`), which
may lack a package, crash or take too long: the file that is not there is then a row that says why.
"""
