# SPDX-License-Identifier: Apache-2.0
"""What a judged discordant part says of champion and challenger. Pure.

Draws nothing and decides nothing: the gates of a rollout do. Called by `store/repositories/shadow.py`.
"""

from contracts.vocabulary import Judgement, Verdict


def is_right(verdict: Verdict, judgement: Judgement) -> bool | None:
    """Whether a verdict treated the part rightly: a good one passed, a defective one did not. None: nobody can say.

    REVIEW diverts a part as NG does: right for a defective one, a cost for a good one.
    """
    if judgement is Judgement.UNSURE or verdict is Verdict.NO_DECISION:
        return None
    return (verdict is Verdict.OK) is (judgement is Judgement.GOOD)
