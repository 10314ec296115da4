"""Neuron scores: one file per ranker, all giving one order over all neurons."""
