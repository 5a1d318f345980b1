# SPDX-License-Identifier: Apache-2.0
"""Control charts as pure functions of rows: p, np, u, CUSUM, EWMA, run rules, and the figures beside them.

Every chart is recomputed from stored rows, so nothing is lost when central restarts. Raises no alarm and says
no cause: `services/watches/watching.py` turns signals into alarms, the API draws the points. Phase I learns limits from
a reference period, phase II watches with limits that no longer move (ISO 7870-2:2023, clauses 4.9 and 4.10 by
its contents list; the formulas are from the papers named in the modules).
"""

from central.quality.charts.attributes import (
    AttributeChart,
    BinomialLimits,
    attribute_chart,
    normal_scores,
    p_chart_limits,
)
from central.quality.charts.bernoulli import (
    CusumPath,
    CusumPlan,
    follow_cusum,
    mean_run_length,
    plan_cusum,
)
from central.quality.charts.cusum import TabularCusum, cusum_limit, cusum_mean_run_length, tabular_cusum
from central.quality.charts.ewma import EwmaPath, block_means, ewma_chart
from central.quality.charts.rules import NELSON, WESTERN_ELECTRIC, RuleSignal, RunRule, run_rules
from central.quality.charts.yields import (
    ParetoBar,
    escape_ppm,
    first_pass_yield,
    overkill_cost,
    pareto,
    rolled_throughput_yield,
)

__all__ = [
    "NELSON",
    "WESTERN_ELECTRIC",
    "AttributeChart",
    "BinomialLimits",
    "CusumPath",
    "CusumPlan",
    "EwmaPath",
    "ParetoBar",
    "RuleSignal",
    "RunRule",
    "TabularCusum",
    "attribute_chart",
    "block_means",
    "cusum_limit",
    "cusum_mean_run_length",
    "escape_ppm",
    "ewma_chart",
    "first_pass_yield",
    "follow_cusum",
    "mean_run_length",
    "normal_scores",
    "overkill_cost",
    "p_chart_limits",
    "pareto",
    "plan_cusum",
    "rolled_throughput_yield",
    "run_rules",
    "tabular_cusum",
]
