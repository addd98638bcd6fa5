"""What the claim that grokking is a critical point could fail by: nine questions, their answers and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llckit.criticality import HyperscalingTest

Array = NDArray[np.float64]
SCALED = ("order_parameter", "susceptibility", "binder", "specific_heat")
GOOD_QUALITY = 2.0  # reduced chi-square, as in `transition_order`
NARROW = 0.3  # half-width of the residual's interval, as in `hyperscaling_test`
DECADE = 10.0
FEW = 0.05
EXPONENTS = ("critical_point", "nu_star", "alpha", "beta_over_nu_star", "gamma_over_nu_star")


@dataclass(frozen=True)
class Criteria:
    """All that is asked of one set of runs.

    Attributes:
        data: The observables by name, a row a size and control.
        found: What the analyses of `grokking_scaling` found, by name.
        test: The hyperscaling test of all observables.
    """

    data: Mapping[str, Array]
    found: Mapping[str, Any]
    test: HyperscalingTest

    def answers(self) -> list[dict[str, str]]:
        """Question, answer ("yes" or "no") and numbers of each criterion."""
        return [
            {"question": question, "answer": "yes" if answer else "no", "numbers": numbers}
            for question, answer, numbers in self._all()
        ]

    def _all(self) -> Iterator[tuple[str, bool, str]]:
        yield "a: do the curves collapse?", *self._collapse()
        yield "b: is the transition continuous?", *self._order()
        yield "c: do their 95 % intervals of nu* share a value?", *self._one_exponent()
        yield "d: is alpha measured independently?", *self._independent()
        yield "e: is the range of sizes long enough?", *self._range()
        yield "f: do the exponents stay in their intervals without the smallest p?", *self._without_smallest()
        yield "g: does the transition tend to a fraction above 0?", *self._place()
        late = self.found["share of late grokking"]
        numbers = f"share of the runs above 90 % that got there in the last quarter of training: {shown(late)}"
        yield "h: was training long enough?", late is not None and late < FEW, numbers
        yield "i: is the verdict the same with N = p?", *self._other_size()

    def _collapse(self) -> tuple[bool, str]:
        quality = ", ".join(f"{name} {shown(one.get('quality'))}" for name, one in self.found["alone"].items())
        good = self.test.quality is not None and self.test.quality <= GOOD_QUALITY
        return good, f"joint reduced chi-square {shown(self.test.quality)}; alone {quality}"

    def _order(self) -> tuple[bool, str]:
        order, peak, data = self.found["order"], self.found["peaks of the susceptibility"], self.data
        binder = data["binder"][data["size"] == data["size"].max()].min()
        numbers = [
            f"{order['order']}; susceptibility's peak ~ N^{shown(peak['exponent'])}",
            f"AIC of saturation less that of a power {shown(peak['aic_gain'])}",
            f"least Binder cumulant at the largest p {binder:.2f}",
        ]
        value, se = most_bimodal(data)
        if len(value):
            numbers.append(f"bimodality {', '.join(f'{x:.2f}' for x in value)} (the last ± {se[-1]:.2f})")
        else:
            numbers.append("no bimodality")
        return order["order"] == "continuous", ", ".join(numbers)

    def _one_exponent(self) -> tuple[bool, str]:
        single = self.found["alone"]
        names = [name for name in SCALED[:3] if "nu_star" in single[name]]
        ranges = [single[name]["nu_star_interval"] for name in names]
        fixed = [name for name in names if "nu_star" not in single[name]["undetermined"]]
        agree = len(fixed) == 3 and max(low for low, _ in ranges) <= min(high for _, high in ranges)
        each = [f"{n} {single[n]['nu_star']:.2f} [{a:.2f}, {b:.2f}]" for n, (a, b) in zip(names, ranges, strict=True)]
        return agree, f"{', '.join(each)}; {len(fixed)} of 3 determined"

    def _independent(self) -> tuple[bool, str]:
        shared = self.found["correlation of susceptibility and specific heat"]
        numbers = (
            f"alpha {shown(self.test.alpha)} is of the specific heat alone, but that varies with the susceptibility "
            f"from seed to seed: correlation {shared:.2f}"
        )
        return self.test.alpha is not None and shared**2 < 0.5, numbers

    def _range(self) -> tuple[bool, str]:
        span, interval = float(self.data["size"].max() / self.data["size"].min()), self.test.residual_interval
        width = None if interval is None else (interval[1] - interval[0]) / 2
        numbers = f"largest N / smallest N = {span:.1f}, residual known to ±{shown(width)} ({NARROW} is needed)"
        return span >= DECADE and width is not None and width <= NARROW, numbers

    def _without_smallest(self) -> tuple[bool, str]:
        still, each = True, []
        for name in EXPONENTS:
            interval, before = getattr(self.test, f"{name}_interval"), getattr(self.test, name)
            after = self.found["without smallest p"].get(name)
            each.append(f"{name} {shown(before)} {shown(interval)} -> {shown(after)}")
            still &= interval is not None and after is not None and interval[0] <= after <= (interval[1] or np.inf)
        return still, ", ".join(each)

    def _place(self) -> tuple[bool, str]:
        drift = self.found["half way"]
        if "failed" in drift:
            return False, drift["failed"]
        numbers = (
            f"<m> = 1/2 at f = {', '.join(f'{x:.3f}' for x in drift['fraction'])}: p^-{drift['decay']:.2f} with "
            f"chi-square {drift['chi_square']:.1f}; a limit of {drift['limit']:.2f} takes off {drift['gain']:.1f} "
            "(4 is needed)"
        )
        return drift["gain"] > 4, numbers

    def _other_size(self) -> tuple[bool, str]:
        other, test = self.found["N = p"], self.test
        same = other.get("verdict") == test.verdict and other.get("order") == test.order
        numbers = (
            f"{test.verdict} ({test.order}), {other.get('verdict')} ({other.get('order')}); "
            f"residual {shown(test.residual)} with N = p², {shown(other.get('residual'))} with N = p"
        )
        return same, numbers


def most_bimodal(data: Mapping[str, Array]) -> tuple[Array, Array]:
    """The bimodality of each size at its most bimodal control, that of the highest coefficient less 3 errors.

    Args:
        data: The observables.

    Returns:
        Coefficients and standard errors, shape (sizes,), of the sizes where it was measured inside the transition.
    """
    found = []
    for size in np.unique(data["size"]):
        at = data["size"] == size
        m, value, se = (data[name][at] for name in ("order_parameter", "bimodality", "bimodality_se"))
        share = (m - m.min()) / max(float(np.ptp(m)), 1e-300)
        inside = (share > 0.1) & (share < 0.9) & np.isfinite(value)
        if inside.any():
            best = int(np.argmax(value[inside] - 3 * np.nan_to_num(se[inside])))
            found.append((value[inside][best], se[inside][best]))
    columns = np.array(found).reshape(-1, 2).T
    return columns[0], columns[1]


def shown(value: float | tuple[float | None, ...] | None) -> str:
    """A number or an interval, or that there is none."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return "unknown" if value is None else f"{value:.3g}"
