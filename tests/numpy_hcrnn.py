"""HCRNN written once more, loop by loop, in NumPy, from the paper's equations alone.

It shares no code with the library; only the names of the torch parameters appear, to read their values. Row vectors
times matrices, as in the paper. E embedding, H hidden, K contexts, V items.
"""

from __future__ import annotations

import numpy as np

Weights = dict[str, np.ndarray]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    weights = np.exp(x - np.max(x))
    return weights / weights.sum()


def paper_weights(state: Weights, embedding: int, hidden: int) -> Weights:
    """The paper's matrices out of a torch state dict (torch keeps them transposed, and some packed in row blocks)."""
    cuts = [embedding, embedding + hidden, embedding + 2 * hidden]
    names = dict(zip(("xl", "xz", "xr", "xh"), np.split(state["cell.input_projection.weight"], cuts), strict=True))
    names |= dict(zip(("hl", "hz", "hr", "ha"), np.split(state["cell.hidden_projection.weight"], cuts), strict=True))
    weights = {f"W_{name}": block.T for name, block in names.items()}
    biases = np.split(state["cell.input_projection.bias"], cuts)
    weights |= dict(zip(("b_l", "b_z", "b_r", "b_h"), biases, strict=True))
    weights["W_thetaa"] = state["cell.context_projection.weight"].T
    weights["v_theta"] = state["cell.context_score"]
    weights["W_cl"] = state["cell.local_to_local.weight"].T
    weights["W_cz"] = state["cell.local_to_update.weight"].T
    weights["W_hh"] = state["cell.history_to_candidate.weight"].T
    if "cell.local_to_reset.weight" in state:
        weights["W_cr"] = state["cell.local_to_reset.weight"].T
    if "cell.free_agreement" in state:
        weights["W_d"] = np.abs(state["cell.free_agreement"].T)
    if "cell.drift_bias" in state:
        weights["b_d"] = state["cell.drift_bias"]
    weights["W_ha1"], weights["W_ha2"] = state["readout.query.weight"].T, state["readout.key.weight"].T
    weights["v_h"] = state["readout.score"]
    if "readout.local_query.weight" in state:
        weights["W_ca1"], weights["W_ca2"] = state["readout.local_query.weight"].T, state["readout.local_key.weight"].T
    weights["W_B"] = state["to_item_space.weight"].T
    weights["M"], weights["W_emb"] = state["global_contexts"], state["item_embeddings"]
    return weights


def step(variant: str, w: Weights, x, h, c, theta):
    """One step; returns h_t, c_t and the gates (alpha, G^c, z, r, G^d)."""
    contexts = len(theta)
    scores = np.zeros(contexts)
    for k in range(contexts):
        scores[k] = w["v_theta"] @ sigmoid(h @ w["W_ha"] + (theta[k] * w["M"][k]) @ w["W_thetaa"])
    alpha = softmax(scores)
    proposed = sum(alpha[k] * w["M"][k] for k in range(contexts))
    local_gate = sigmoid(x @ w["W_xl"] + h @ w["W_hl"] + c @ w["W_cl"] + w["b_l"])
    c = (1 - local_gate) * c + local_gate * proposed
    z = sigmoid(x @ w["W_xz"] + h @ w["W_hz"] + c @ w["W_cz"] + w["b_z"])
    drift = np.ones_like(h)
    if variant == "hcrnn1":
        r = sigmoid(x @ w["W_xr"] + h @ w["W_hr"] + c @ w["W_cr"] + w["b_r"])
    elif variant == "hcrnn2":
        r = sigmoid(x @ w["W_xr"] + h @ w["W_hr"] + (x * c) @ w["W_d"] + w["b_r"])
    else:
        r = sigmoid(x @ w["W_xr"] + h @ w["W_hr"] + w["b_r"])
        drift = sigmoid((x * c) @ w["W_d"] + w["b_d"])
    candidate = (r * (drift * h)) @ w["W_hh"] + x @ w["W_xh"] + w["b_h"]
    h = (1 - z) * h + z * np.tanh(candidate)
    return h, c, (alpha, local_gate, z, r, drift)


def log_probabilities(variant: str, w: Weights, items: list[int], thetas: np.ndarray) -> np.ndarray:
    """(T, V) log-probabilities of items 1..V after each of the items; ``thetas`` (T, K) are the proportions."""
    hidden = w["W_hh"].shape[0]
    h, c = np.zeros(hidden), np.zeros(w["W_emb"].shape[1])
    states, contexts, rows = [], [], []
    for t, item in enumerate(items):
        h, c, _ = step(variant, w, w["W_emb"][item], h, c, thetas[t])
        states.append(h)
        contexts.append(c)
        alpha_h = softmax(np.array([w["v_h"] @ sigmoid(h @ w["W_ha1"] + past @ w["W_ha2"]) for past in states]))
        readout = [sum(a * past for a, past in zip(alpha_h, states, strict=True)), h]
        if variant == "hcrnn3-bi":
            scores = [(c @ w["W_ca1"]) @ (past @ w["W_ca2"]) / np.sqrt(hidden) for past in contexts]
            alpha_c = softmax(np.array(scores))
            readout.insert(0, sum(a * past for a, past in zip(alpha_c, states, strict=True)))
        logits = w["W_emb"][1:] @ (np.concatenate(readout) @ w["W_B"])
        rows.append(np.log(softmax(logits)))
    return np.array(rows)
