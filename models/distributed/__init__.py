# SPDX-License-Identifier: Apache-2.0
"""A training on several workers: the group they form (`group`), who leads and who follows, and how they are started.

The first worker runs the training as ever (`training.job`) and leads; the others follow (`following`): they extract
their share of the features and compute their share of every gradient. Started as processes of this machine (`local`).
"""
