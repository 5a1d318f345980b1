# SPDX-License-Identifier: Apache-2.0
"""Signing: the TUF repository of packages, the signed assignments, the keys and the enrolment files.

Who may publish a package and who may assign it are two keys. Decides nothing about promotion or rollout.
"""
