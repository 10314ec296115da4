"""Planted circuits: genuine models whose weights are written by hand, so that the truth is known.

`world` draws the images and asks the questions, `layout` divides the residual stream, `circuit`
says which heads route and which neurons write, `decoder` and `llava` turn that into weights of the
stock classes, `recovery` compares what every ranker finds with what was planted.
"""
