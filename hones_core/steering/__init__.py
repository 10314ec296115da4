"""Steering: one learned scale per neuron of a bank, backbone frozen (paper 4.3, METHOD 10).

`bank` says which neurons, `examples` what they learn from, `training` how; `methods` learns and
chooses all that Table 3 compares, `prediction` runs it on test, `transfer` on other data sets, and
`export` hands learned scales to people. There is nothing to import from here: a step's code is what
it imports, and a change of `export` is to re-run no learning.
"""
