"""Writes forecast_nets.json: our weights copied into the published modules, and what those answer.

Run by hand, in an environment with neuralforecast 3.3.0 and pytorch-forecasting 1.8.0 beside this package; the tests read the file alone.
"""

import json
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)
from forecast_cases import BUILD, SERIES, SHORT, X, waves
import neuralforecast.models.nhits as nh
import neuralforecast.models.tft as tf
import pytorch_forecasting.models.temporal_fusion_transformer.sub_modules as pf

NF, PF = "neuralforecast 3.3.0", "pytorch-forecasting 1.8.0"


def cp(dst, src):
    dst.weight.data.copy_(src.weight.data)
    if src.bias is not None:
        dst.bias.data.copy_(src.bias.data)


def grn(ref, g):
    cp(ref.lin_a, g.enter)
    cp(ref.lin_i, g.middle)
    cp(ref.glu.lin, g.out.gate)
    cp(ref.layer_norm.ln, g.out.norm)
    if g.context is not None:
        ref.lin_c.weight.data.copy_(g.context.weight.data)
    if ref.out_proj is not None:
        cp(ref.out_proj, g.skip)


def vsn(ref, v):
    grn(ref.joint_grn, v.joint)
    for i, r in enumerate(ref.var_grns):
        for a, b in ((r.lin_a, v.own.enter), (r.lin_i, v.own.middle), (r.glu.lin, v.own.gate)):
            a.weight.data.copy_(b.weight[i].T)
            a.bias.data.copy_(b.bias[i, 0])
        r.layer_norm.ln.weight.data.copy_(v.own.scale[i, 0])
        r.layer_norm.ln.bias.data.copy_(v.own.shift[i, 0])


def emb(x, v):
    return x[..., None] * v.vectors + v.origins


def att(ref, a):
    ref.qkv_linears.weight.data.copy_(torch.cat([a.query.weight, a.key.weight, a.value.weight]))
    ref.out_proj.weight.data.copy_(a.out.weight)


def block(b, pool, h=12, T=24):
    basis = nh._IdentityBasis(T, h, "linear")
    n_in = -(-T // pool)
    r = nh.NHITSBlock(T, h, T + b.fore.shape[0], [[n_in, 7], [7, 5]], basis, 0, 0, 0, pool, "MaxPool1d", 0.0, "ReLU")
    lin = [m for m in r.layers if isinstance(m, torch.nn.Linear)]
    own = [m for m in b.layers if isinstance(m, torch.nn.Linear)]
    lin[0].weight.data.copy_(torch.eye(n_in))
    lin[0].bias.data.zero_()  # its first layer has no activation
    for theirs, ours in zip(lin[1:], own, strict=True):
        cp(theirs, ours)
    return r


def static(ref, s):
    vsn(ref.vsn, s.selection)
    for r, g in zip(ref.context_grns, s.contexts, strict=True):
        grn(r, g)


def ref_interp(how):
    return nh._IdentityBasis(0, 24, how)(waves(3, 4))[1][:, :, 0]


def r_block(net):
    back, fore = block(net, 4)(SERIES[..., 0], None, None, None)
    return torch.cat([back[:, None], fore.transpose(1, 2)], -1)


def r_nhits(net):
    m = nh.NHITS(h=12, input_size=24, accelerator="cpu", enable_progress_bar=False, logger=False)
    m.blocks = torch.nn.ModuleList(block(b, p) for b, p in zip(net.blocks, (8, 4, 1), strict=True))
    m.decompose_forecast = False
    m.eval()
    return m(
        {
            "insample_y": SERIES * SHORT[..., None],
            "insample_mask": SHORT[..., None].float(),
            "futr_exog": None,
            "hist_exog": None,
            "stat_exog": None,
        }
    ).transpose(1, 2)


def r_grn(net):
    r = tf.GRN(6, 8, 3, 4)
    grn(r, net)
    return r.eval()(X, waves(5, 1, 4)[:, 0])


def r_grn_pf(g):
    r = pf.GatedResidualNetwork(6, 6, 6, 0.0, 4)
    r.gate_norm.add_norm.norm.eps = 1e-3
    cp(r.fc1, g.enter)
    cp(r.fc2, g.middle)
    r.context.weight.data.copy_(g.context.weight)
    cp(r.gate_norm.glu.fc, g.out.gate)
    cp(r.gate_norm.add_norm.norm, g.out.norm)
    return r.eval()(X, waves(5, 1, 4))


def r_vsn(net):
    r = tf.VariableSelectionNetwork(8, 6, 0.0, "ELU")
    r.joint_grn.lin_c = torch.nn.Linear(4, 8, bias=False)
    vsn(r, net)
    return torch.cat(r.eval()(emb(X, net), waves(5, 1, 4)[:, 0]), -1)


def r_att(k):
    def f(net):
        r = tf.InterpretableMultiHeadAttention(2, 6, 9, 0.0, 0.0)
        att(r, net)
        out, w = r.eval()(X)
        return out[:, -1:] if k == 0 else w[:, :, -1:]

    return f


def r_att_pf(net):
    r = pf.InterpretableMultiHeadAttention(2, 6)
    n = 3
    for i in range(2):
        r.q_layers[i].weight.data.copy_(net.query.weight[i * n : (i + 1) * n])
        r.k_layers[i].weight.data.copy_(net.key.weight[i * n : (i + 1) * n])
    r.v_layer.weight.data.copy_(net.value.weight)
    r.w_h.weight.data.copy_(net.out.weight)
    return r.eval()(X[:, -1:], X, X)[0]


def r_static(net):
    r = tf.StaticCovariateEncoder(8, 3, 0.0, "ELU")
    static(r, net)
    cs, ce, ch, cc, w = r.eval()(emb(X[:, 0, :3], net.selection))
    return torch.cat([cs, ce, ch[0], cc[0]], -1)


def r_tft(k):
    def f(net):
        s = tf.StaticCovariateEncoder(8, 2, 0.0, "ELU", n_rnn_layers=2, one_rnn_initial_state=True)
        static(s, net.static)
        cs, ce, ch, cc, _ = s.eval()(emb(X[:, -1, [1, 4]], net.static.selection))
        v = tf.VariableSelectionNetwork(8, 4, 0.0, "ELU")
        vsn(v, net.selection)
        chosen, w = v.eval()(emb(X[..., [0, 2, 3, 5]], net.selection), cs)
        lstm = torch.nn.LSTM(8, 8, 2, batch_first=True)
        lstm.load_state_dict(net.lstm.state_dict())
        t = lstm(chosen, (ch.contiguous(), cc.contiguous()))[0]
        gate, ln = tf.GLU(8, 8), torch.nn.LayerNorm(8, eps=1e-3)
        cp(gate.lin, net.near.gate)
        cp(ln, net.near.norm)
        t = ln(gate(t) + chosen)
        d = tf.TemporalFusionDecoder(2, 8, 9, 8, 0.0, 0.0, "ELU")
        grn(d.enrichment_grn, net.enrich)
        att(d.attention, net.attention)
        cp(d.attention_gate.lin, net.far.gate)
        cp(d.attention_ln, net.far.norm)
        grn(d.positionwise_grn, net.think)
        cp(d.decoder_gate.lin, net.last.gate)
        cp(d.decoder_ln, net.last.norm)
        return d.eval()(t, ce)[0][:, 0] if k == 0 else w

    return f


REF = {
    "knots linear": (NF, lambda n: ref_interp("linear")),
    "knots nearest": (NF, lambda n: ref_interp("nearest")),
    "knots cubic": (NF, lambda n: ref_interp("cubic")),
    "N-HiTS block": (NF, r_block),
    "N-HiTS": (NF, r_nhits),
    "GRN": (NF, r_grn),
    "GRN of equal widths": (PF, r_grn_pf),
    "variable selection": (NF, r_vsn),
    "attention": (NF, r_att(0)),
    "attention weights": (NF, r_att(1)),
    "attention, separate heads": (PF, r_att_pf),
    "static contexts": (NF, r_static),
    "TFT": (NF, r_tft(0)),
    "TFT weights": (NF, r_tft(1)),
}
out = {}
with torch.no_grad():
    for k, make in BUILD.items():
        net, mine = make()
        src, f = REF[k]
        ref = f(net)
        diff = float((mine - ref).abs().max()) if mine.shape == ref.shape else ("SHAPE", mine.shape, ref.shape)
        print(f"{k:28s} {tuple(ref.shape)} max|ref| {ref.abs().max():.3f} diff {diff}")
        out[k] = {
            "source": src,
            "difference": float(f"{diff:.2g}"),
            "output": [round(v, 7) for v in ref.flatten().tolist()],
            "shape": list(ref.shape),
        }
for v in out.values():
    v["output"] = np.array(v["output"]).reshape(v.pop("shape")).tolist()
json.dump(
    {"how": "outputs of the named library with the weights of tests/forecast_cases.py copied into it", "cases": out},
    open(Path(__file__).parent / "forecast_nets.json", "w"),
    separators=(",", ":"),
)
