"""
From a raw table to alarms with reasons
=======================================

Numbers, categories, gaps and a date: the table that everybody has. Scikit-learn encodes
it, a detector at the end of the pipeline scores it, and the reasons come back in the
columns of the table.
"""

# %%
# Orders of a shop
# ----------------
#
# A parcel has a ``weight`` and a ``price``; what its ``shipping`` costs depends on the
# weight and on the ``country``. Companies order in office hours, private customers
# whenever they like. One weight in twelve was not noted.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skganomaly import GANomalyDetector
from skganomaly.pipelines import MissingCount, through
from skganomaly.plotting import ContributionDisplay

PER_KILO = {"AT": 1.0, "CH": 4.0, "DE": 0.5, "IT": 2.0}


def orders(n_rows, rng):
    """Orders as they come in."""
    country = rng.choice(list(PER_KILO), n_rows, p=[0.3, 0.1, 0.4, 0.2])
    customer = rng.choice(["company", "private"], n_rows)
    weight = rng.gamma(4, 1.5, n_rows)
    rate = pd.Series(country).map(PER_KILO).to_numpy()
    office = rng.normal(13, 1.5, n_rows)
    hour = np.where(customer == "company", office, rng.uniform(7, 24, n_rows))
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        rng.integers(90, size=n_rows), "D"
    )
    table = pd.DataFrame(
        {
            "country": country,
            "customer": customer,
            "weight": weight,
            "price": weight * rng.lognormal(3, 0.4, n_rows),
            "shipping": 4 + rate * weight + rng.normal(0, 0.3, n_rows),
            "ordered": day + pd.to_timedelta(hour, "h").round("min"),
        }
    )
    table["weight"] = table["weight"].mask(rng.uniform(size=n_rows) < 1 / 12)
    return table


rng = np.random.default_rng(0)
train, new = orders(1500, rng), orders(1000, rng)
print(train.head().to_string())

# %%
# The pipeline
# ------------
#
# Everything that is learned from the rows is learned inside the pipeline, so that no
# new row has a say in it. Times of day lie on a circle. Whether values are missing goes
# in as *one* column, their number in a row; see :ref:`tables` for why.


def time_of_day(X):
    """Hour of a column of dates, as a point on a circle."""
    when = X.iloc[:, 0].dt
    angle = 2 * np.pi * (when.hour + when.minute / 60) / 24
    return np.column_stack([np.sin(angle), np.cos(angle)])


numbers, categories = ["weight", "price", "shipping"], ["country", "customer"]
encode = make_column_transformer(
    (SimpleImputer(strategy="median"), numbers),
    (MissingCount(), numbers),
    (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), categories),
    (FunctionTransformer(time_of_day), ["ordered"]),
)
pipeline = make_pipeline(encode, GANomalyDetector(random_state=0)).fit(train)
print(f"new orders flagged: {np.mean(pipeline.predict(new) == -1):.1%}")

# %%
# Four things go wrong
# --------------------
#
# Each with 200 orders: shipping is charged as for another country; a company orders at
# night; a parcel is far too cheap for its weight; and a country that was never seen. In
# the first three no value is unusual by itself.

sound = orders(3000, rng)
known = sound[sound["weight"].notna()]
night = pd.to_timedelta(rng.uniform(20, 24, 200), "h").round("min")
wrong_rate = known[known["country"] == "DE"].head(200).copy()
wrong_rate["shipping"] = 4 + 4 * wrong_rate["weight"]
at_night = known[known["customer"] == "company"].head(200).copy()
at_night["ordered"] = at_night["ordered"].dt.normalize() + night
too_cheap = known[known["weight"] > 7].head(200).copy()
too_cheap["price"] = 15.0
new_country = known.head(200).assign(country="XX")
wrong = {
    "shipping": wrong_rate,
    "ordered": at_night,
    "price": too_cheap,
    "country": new_country,
}

# %%
# Alarms with reasons
# -------------------
#
# ``through`` gives the pipeline the methods of the detector at its end, for raw rows.
# The dummies of a category and the two coordinates of a time are summed, so that
# contributions have the columns of the table, and one more for the count of gaps, which
# is made of several.

view = through(pipeline)
shares = {}
for column, rows in wrong.items():
    flagged = rows[pipeline.predict(rows) == -1]
    reasons = view.explain(flagged)
    blamed = reasons.idxmax(axis=1).value_counts(normalize=True)
    shares[column] = blamed.reindex(reasons.columns, fill_value=0)
    shares[column]["found"] = len(flagged) / len(rows)
print(pd.DataFrame(shares).T.to_string(float_format="{:.0%}".format))

# %%
# The rate can be changed without training again, and the pipeline follows.

view.set_threshold(false_alarm_rate=0.01)
print(f"new orders flagged: {np.mean(pipeline.predict(new) == -1):.1%}")

# %%
# The picture
# -----------
#
# One order of each kind, the most anomalous. What is wrong with it is near the top,
# beside what it contradicts: shipping that does not fit the country might as well be a
# wrong country.

worst = pd.concat(
    [rows.iloc[[np.argmax(view.anomaly_score(rows))]] for rows in wrong.values()]
)
worst.index = [f"wrong {column}" for column in wrong]
ContributionDisplay.from_estimator(view, worst, top_k=4)
plt.show()
