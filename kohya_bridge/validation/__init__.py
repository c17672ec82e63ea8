"""Judging checkpoints by pictures: which cells a grid has, the labelled grid itself, its manifest, and what is measured."""
