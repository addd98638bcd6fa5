"""`LLCCurve` and its CSV."""

import numpy as np
import pytest

import llckit as lk


def curve(steps=10):
    rng = np.random.default_rng(0)
    llc = rng.normal(size=steps)
    llc[3] = np.nan
    return lk.LLCCurve(
        step=np.arange(steps) * 10,
        loss=rng.random(steps),
        llc=llc,
        mcse=rng.random(steps),
        llc_per_chain=rng.normal(size=(steps, 3)),
        details={"grad_norm": rng.random(steps), "n_beta": np.full(steps, 135.0)},
        outcome=(lk.Outcome.CONVERGED,) * (steps - 1) + (lk.Outcome.NOT_A_MINIMUM,),
        behavioral=True,
        recorded={"loss": rng.random(steps), "test accuracy, %": np.where(llc > 0, llc, np.nan)},
    )


def test_csv_round_trip_is_exact(tmp_path):
    before = curve()
    before.to_csv(tmp_path / "curve.csv")
    header = (tmp_path / "curve.csv").read_text().splitlines()[0]
    assert header.startswith("step,loss,llc,llc_se,llc_chain_0,llc_chain_1,llc_chain_2")
    after = lk.LLCCurve.from_csv(tmp_path / "curve.csv")
    for name in ("step", "loss", "llc", "mcse", "llc_per_chain", "grad_norm"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.recorded.keys() == before.recorded.keys()
    for name, values in before.recorded.items():
        np.testing.assert_array_equal(after.recorded[name], values)
    assert after.outcome == before.outcome
    assert after.behavioral


def test_a_foreign_csv_needs_three_columns_only(tmp_path):
    path = tmp_path / "foreign.csv"
    path.write_text("\ufeffllc, step,loss,llc_std\n1.5,0,2.0,3\n,10,1.0,4\n")
    found = lk.LLCCurve.from_csv(path)
    assert found.step.tolist() == [0, 10]
    assert np.isnan(found.llc[1])
    assert found.mcse is None
    assert found.llc_per_chain is None
    assert found.outcome is None


def test_words_are_read_as_spreadsheets_leave_them(tmp_path):
    rows = ("0,1,2,converged ,Task", "1,1,2, NOT A LOCAL MINIMUM,task", "2,1,2,converged,task")
    (tmp_path / "c.csv").write_text("\n".join(["step,loss,llc,outcome,loss_kind", *rows]))
    found = lk.LLCCurve.from_csv(tmp_path / "c.csv")
    assert found.is_minimum.tolist() == [True, False, True]
    assert not found.behavioral


def test_more_than_ten_chains_keep_their_order(tmp_path):
    columns = ",".join(f"llc_chain_{c}" for c in range(12))
    (tmp_path / "c.csv").write_text(f"step,loss,llc,{columns}\n0,1,2,{','.join(map(str, range(12)))}\n")
    assert lk.LLCCurve.from_csv(tmp_path / "c.csv").llc_per_chain.tolist() == [list(range(12))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column step, loss, llc"),
        ("step,loss\n0,1\n", "no column llc"),
        ("step,loss,llc\n", "no checkpoints"),
        ("step,loss,llc\n0,1,2\n0,1,2\n", "step 0 .row 2. does not follow"),
        ("step,loss,llc\n5,1,2\n3,1,2\n", "step 3"),
        ("step,loss,llc\n-5,1,2\n3,1,2\n", "step -5"),
        ("step,loss,llc\n0.5,1,2\n", "not integers"),
        ("step,loss,llc,n_beta\n0,1,2,20\n1,1,2,21\n", "n_beta takes values from 20 to 21; expected one for all"),
        ("step,loss,llc,localization\n0,1,2,1\n1,1,2,\n2,1,2,3\n", "localization takes values from 1 to 3"),
        ("step,loss,llc,loss_kind\n0,1,2,task\n1,1,2,behavioral\n", "loss_kind holds both task and behavioral"),
        ("step,loss,llc,loss_kind\n0,1,2,training\n", "column loss_kind holds 'training'; expected one of"),
        (
            "step,loss,llc,outcome\n0,1,2,converged\n1,1,2,fine\n",
            "line 3: column outcome holds 'fine'; expected one",
        ),
        ("step,loss,llc\n,1,2\n", "not integers"),
        ("step,loss,llc\n0,one,2\n", "line 2: column loss holds 'one'"),
        ("\x00\x01", "no column"),
    ],
)
def test_a_wrong_csv_says_where(tmp_path, text, message):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(lk.InputError, match=message):
        lk.LLCCurve.from_csv(path)


def test_missing_files_and_existing_ones(tmp_path):
    with pytest.raises(lk.InputError, match="cannot be read: No such file"):
        lk.LLCCurve.from_csv(tmp_path / "none.csv")
    with pytest.raises(lk.InputError, match="cannot be read"):
        lk.LLCCurve.from_csv(tmp_path)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(lk.InputError, match="not a text file"):
        lk.LLCCurve.from_csv(tmp_path / "binary.csv")
    (tmp_path / "old.csv").write_text("precious")
    with pytest.raises(lk.InputError, match="exists already"):
        curve().to_csv(tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "precious"


def test_columns_of_different_lengths():
    with pytest.raises(lk.InputError, match="different lengths"):
        lk.LLCCurve(np.arange(3), np.zeros(2), np.zeros(3), None, None, {})
