"""Decisions: every reason renders its sentence from its numbers."""

import string

import pytest

from llckit.criticality.exponents.decisions import OrderDecision, OrderReason, VerdictDecision, VerdictReason


def numbers_of(sentence):
    """A number, or a name, for each place in a sentence."""
    names = {name for _, name, _, _ in string.Formatter().parse(sentence) if name}
    return {name: "susceptibility" if name == "observable" else 0.25 for name in names - {"order"}}


@pytest.mark.parametrize("reason", OrderReason)
def test_an_order_has_a_sentence(reason):
    decision = OrderDecision(reason, numbers_of(reason.sentence))
    assert decision.order in ("continuous", "first-order", "crossover", "undetermined")
    assert decision.sentence().endswith(".")
    assert "{" not in decision.sentence()


@pytest.mark.parametrize("reason", VerdictReason)
def test_a_verdict_has_a_sentence_that_may_quote_the_order(reason):
    order = OrderDecision(OrderReason.UNKNOWN_NARROWING)
    decision = VerdictDecision(reason, order, numbers_of(reason.sentence))
    assert decision.verdict in ("consistent", "violated", "inconclusive")
    assert decision.sentence().endswith(".")
    assert "{" not in decision.sentence()
    assert (order.sentence() in decision.sentence()) == ("{order}" in reason.sentence)


def test_a_sentence_holds_its_numbers():
    decision = OrderDecision(OrderReason.PEAK_SATURATES, {"growth": 0.0312})
    assert "grows as N^0.03" in decision.sentence()
    with pytest.raises(KeyError, match="growth"):
        OrderDecision(OrderReason.PEAK_SATURATES).sentence()
