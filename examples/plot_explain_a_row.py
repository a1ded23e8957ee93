"""
Which features made this row anomalous?
=======================================

A machine reports six readings that depend on each other. One dependency breaks, while
each reading stays within its usual range. Does the explanation name the right one?
"""

# %%
# Six readings
# ------------
#
# A pump's ``speed`` and the ``valve`` are set by an operator. The other readings follow
# from these two: ``flow`` from both, ``power`` from speed and flow, and ``heat`` from
# power. ``room`` has nothing to do with any of them.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skganomaly import GANomalyDetector
from skganomaly.plotting import ContributionDisplay


def run_pump(n_rows, rng):
    """Readings of a pump that is in order."""
    speed = rng.uniform(20, 50, n_rows)  # turns per second
    valve = rng.uniform(0.3, 1, n_rows)  # share open
    flow = speed * np.sqrt(valve)  # litres per second
    power = 0.002 * speed**2 * (1 + flow / 50)  # kilowatts
    heat = 25 + 5 * power  # degrees
    room = rng.normal(20, 2, n_rows)  # degrees
    readings = pd.DataFrame(
        {
            "speed": speed,
            "valve": valve,
            "flow": flow,
            "power": power,
            "heat": heat,
            "room": room,
        }
    )
    error = 0.03 * readings.std().to_numpy()
    return readings + error * rng.normal(size=readings.shape)


rng = np.random.default_rng(0)
X_train, X_new = run_pump(1500, rng), run_pump(500, rng)
detector = GANomalyDetector(random_state=0).fit(X_train)
print(f"rows of a sound pump flagged: {np.mean(detector.predict(X_new) == -1):.1%}")

# %%
# One dependency breaks
# ---------------------
#
# In each of these 500 rows one reading is exchanged for one of another moment. No look
# at single columns finds that: every value is one that a sound pump has shown.

broken = {}
for name in X_new:
    rows = X_new.copy()
    rows[name] = rng.permutation(rows[name])
    broken[name] = rows

# %%
# Who is blamed?
# --------------
#
# For each row that is flagged, the feature with the largest contribution is the one
# that ``explain`` blames. It should be the exchanged one.

shares = pd.DataFrame(0.0, index=X_new.columns, columns=X_new.columns)
found = pd.Series(0.0, index=X_new.columns)
for name, rows in broken.items():
    flagged = rows[detector.predict(rows) == -1]
    found[name] = len(flagged) / len(rows)
    blamed = np.argmax(detector.explain(flagged), axis=1)
    shares.loc[name] = np.bincount(blamed, minlength=6) / len(flagged)
print(shares.assign(found=found).to_string(float_format="{:.0%}".format))

# %%
# The picture
# -----------
#
# Left: which reading is blamed (columns) for which exchange (rows). Right: one row, in
# which the power is wrong; beside each reading stands what the detector expected.
#
# Four of the six are named nearly always. The valve is not: what shows is that flow and
# valve disagree, and the flow gets the blame. A contribution says where a row departs
# from normal, not which of two readings is at fault. And the room temperature, which
# depends on nothing, can be exchanged without harm: no more of these rows are flagged
# than of those of a sound pump.

name = "power"
scores = detector.anomaly_score(broken[name])
middle = np.argsort(scores)[len(scores) // 2]
row = broken[name].iloc[[middle]]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=(1, 1.1)
)
image = left.imshow(shares, cmap="cividis", vmin=0, vmax=1)
for i, j in np.ndindex(shares.shape):
    share = shares.iloc[i, j]
    color = "black" if share > 0.5 else "white"
    left.text(j, i, f"{share:.0%}", ha="center", va="center", color=color)
left.set_xticks(range(6), shares.columns)
left.set_yticks(range(6), [f"{n} ({found[n]:.0%} found)" for n in shares.index])
left.set(xlabel="blamed", ylabel="exchanged", title="Largest contribution")
ContributionDisplay.from_estimator(detector, row, ax=right)
right.set_title(f"The {name} is wrong\n{right.get_title()}")
print(f"the {name} was {X_new.iloc[middle][name]:.3g} before the exchange")
plt.show()
