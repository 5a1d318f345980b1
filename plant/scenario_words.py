# SPDX-License-Identifier: Apache-2.0
"""Finds words in a scenario file that mean nothing here: products, kinds and stations that do not exist.

Works on the raw tables, so that it adds to whatever else is wrong with the file. Called by `scenario` alone.
"""

from plant.parts.catalogue import KINDS, PRODUCTS

Table = dict[str, object]
Found = list[tuple[str, object]]


def unknown_words(content: Table) -> list[str]:
    """One line for each fault, with its place, what was expected and what came."""
    stations, steps = _tables(content.get("station")), _tables(content.get("step"))
    raw = content.get("defects")
    rates: Table = raw if isinstance(raw, dict) else {}
    products: Found = [(f"station.{i}.product", plan.get("product")) for i, plan in enumerate(stations)]
    products += [(f"step.{i}.changeover", step["changeover"]) for i, step in enumerate(steps) if "changeover" in step]
    faults = _not_among(products, PRODUCTS) + _not_among(_named_products(steps), PRODUCTS)
    made = [product for _, product in products if product in PRODUCTS]
    # With no product known any kind may be meant: its faults come when the product is corrected.
    possible = sorted({kind for product in made or PRODUCTS for kind in KINDS[str(product)]})
    kinds: Found = [("defects", kind) for kind in rates]
    for i, step in enumerate(steps):
        new = step.get("new_defect")
        if isinstance(new, dict):
            kinds.append((f"step.{i}.new_defect.kind", new.get("kind")))
    faults += _not_among(kinds, possible)
    names = [str(plan.get("name")) for plan in stations]
    faults += [f"station: name {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
    faults += _foreign_stations(steps, names)
    shares = [rate for rate in rates.values() if isinstance(rate, int | float)]
    if sum(shares) > 1:
        faults.append(f"defects: rates sum to {sum(shares):.3f}, expected at most 1")
    return faults


def _tables(value: object) -> list[Table]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _named_products(steps: list[Table]) -> Found:
    """Products that steps speak of without making them."""
    named = [(f"step.{i}.{key}", step.get(key)) for i, step in enumerate(steps) for key in ("new_defect", "material")]
    return [
        (f"{where}.product", told["product"]) for where, told in named if isinstance(told, dict) and "product" in told
    ]


def _not_among(found: Found, known: tuple[str, ...] | list[str]) -> list[str]:
    """Words of another type than text are the reader's own faults and not repeated here."""
    return [
        f"{where}: expected one of {', '.join(known)}, got {word!r}"
        for where, word in found
        if isinstance(word, str) and word not in known
    ]


def _foreign_stations(steps: list[Table], names: list[str]) -> list[str]:
    faults = []
    for i, step in enumerate(steps):
        kill = str(step.get("kill", ""))
        named = [("station", str(step["station"]))] if "station" in step else []
        named += [("kill", kill.removeprefix("edge:"))] if kill.startswith("edge:") else []
        faults += [
            f"step.{i}.{key}: no station {station!r}; the line has {', '.join(names)}"
            for key, station in named
            if station not in names
        ]
    return faults
