"""The pieces of the forecasting nets that are held against published implementations: built small, filled by a formula."""

import torch

from lineupiq.nets.forecasting import GRN, TFT, NHiTS, NHiTSBlock, ReadableAttention, StaticEncoder, VariableSelection, knot_matrix


def waves(*shape, step=1.3, shift=0.0):
    "Numbers that look drawn and are not."
    n = torch.Size(shape).numel()
    return torch.sin(torch.arange(n, dtype=torch.float64) * step + shift + 0.1).float().reshape(shape)


def fill(net):
    "Every weight of a net by a formula, in the order of its names."
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(0.5 * waves(*p.shape, shift=float(i)))
    return net.eval()


def nhits_net():
    "Three stacks over one series; the backcast has a number a step, as in neuralforecast."
    net = NHiTS(1, 24, 1, horizon=12, hidden=(7, 5), pools=(8, 4, 1), ratios=(6, 3, 1), dropout=0.0)
    net.blocks = torch.nn.ModuleList(NHiTSBlock(24, 1, 12, p, 24, 12 // q, (7, 5)) for p, q in ((8, 6), (4, 3), (1, 1)))
    return net


X, MASK = waves(5, 9, 6), torch.ones(5, 9, dtype=torch.bool)
SERIES = waves(4, 24, 1, step=0.31)
SHORT = torch.arange(24) >= torch.tensor([[0], [3], [11], [23]])
BUILD = {
    "knots linear": lambda: (None, waves(3, 4) @ knot_matrix(4, 24)),
    "knots nearest": lambda: (None, waves(3, 4) @ knot_matrix(4, 24, "nearest")),
    "knots cubic": lambda: (None, waves(3, 4) @ knot_matrix(4, 24, "cubic")),
    "N-HiTS block": lambda: (net := fill(NHiTSBlock(24, 1, 12, 4, 24, 3, (7, 5))), torch.cat(net(SERIES.transpose(1, 2)), -1)),
    "N-HiTS": lambda: (net := fill(nhits_net()), sum(net.decompose(SERIES * SHORT[..., None], SHORT))),
    "GRN": lambda: (net := fill(GRN(6, 8, 3, context=4)), net(X, waves(5, 1, 4))),
    "GRN of equal widths": lambda: (net := fill(GRN(6, 6, context=4)), net(X, waves(5, 1, 4))),
    "variable selection": lambda: (net := fill(VariableSelection(6, 8, context=4)), torch.cat(net(X, waves(5, 1, 4)), -1)),
    "attention": lambda: (net := fill(ReadableAttention(6, 2)), net(X[:, -1:], X, MASK)[0]),
    "attention weights": lambda: (net := fill(ReadableAttention(6, 2)), net(X[:, -1:], X, MASK)[1]),
    "attention, separate heads": lambda: (net := fill(ReadableAttention(6, 2)), net(X[:, -1:], X, MASK)[0]),
    "static contexts": lambda: (net := fill(StaticEncoder(3, 8)), torch.cat(net(X[:, 0, :3])[0], -1)),
    "TFT": lambda: (net := fill(TFT(6, 2, hidden=8, heads=2, layers=2, dropout=0.0, static=(1, 4))), net.read(X, MASK)[0]),
    "TFT weights": lambda: (net := fill(TFT(6, 2, hidden=8, heads=2, layers=2, dropout=0.0, static=(1, 4))), net.read(X, MASK)[1]),
}
