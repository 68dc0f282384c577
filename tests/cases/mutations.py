"""Small inputs of five kinds, and what happens to files on their way to a reader: each mutation says whether it can be told."""

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lineupiq.data.simulate import league, noise_bars
from lineupiq.data.sources import load_panel

PRICES = ["open", "high", "low", "close"]
NFL_FILES = {"schedules": "games", "player_stats": "player_stats", "players": "players", "teams": "teams"}


@dataclass
class Input:
    "Files of a kind, as text by column, with the way they are written."

    kind: str  # bars, table, history, league or nfl
    files: dict[str, pd.DataFrame]  # path → columns of text
    main: str  # the file that mutations fall on
    about: dict | None = None  # the YAML of an own table
    how: dict = field(default_factory=dict)  # of DataFrame.to_csv
    encoding: str = "utf-8"
    after: list[Callable[[bytes], bytes]] = field(default_factory=list)  # of the main file's bytes
    beside: dict[str, bytes] = field(default_factory=dict)  # other files
    odd: str | None = None  # the main file is no file: link, folder, gone

    @property
    def frame(self) -> pd.DataFrame:
        return self.files[self.main]

    @frame.setter
    def frame(self, value: pd.DataFrame) -> None:
        self.files[self.main] = value

    def write(self, folder: Path) -> None:
        "All files."
        for name, frame in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            text = frame.to_csv(index=False, **(self.how if name == self.main else {}))
            raw = text.encode(self.encoding, errors="replace") if name == self.main else text.encode()
            if name == self.main:
                for change in self.after:
                    raw = change(raw)
            (folder / name).write_bytes(raw)
        for name, raw in self.beside.items():
            (folder / name).write_bytes(raw)
        if self.about is not None:
            (folder / "table.yaml").write_text(yaml.safe_dump(self.about, sort_keys=False))
        if self.odd:
            (folder / self.main).unlink()
            {"link": lambda p: p.symlink_to(folder / "nowhere"), "folder": lambda p: p.mkdir(), "gone": lambda p: None, "pipe": os.mkfifo}[
                self.odd
            ](folder / self.main)

    def options(self, folder: Path) -> dict:
        "What load_panel is given."
        if self.kind == "bars":
            return {"name": "bars", "path": folder, "horizon": 5}
        return {"name": "nfl-games", "path": folder} if self.kind == "nfl" else {"name": folder / "table.yaml"}

    def labels(self, folder: Path) -> pd.Series:
        "Labels of the written input, by symbol and time."
        asked = self.options(folder)
        panel = load_panel(asked.pop("name"), **asked)
        key = ["home", "away"] if {"home", "away"} <= set(panel.frame) else ["symbol"]
        rows = panel.frame.dropna(subset=["label"])
        time = pd.to_datetime(rows["time"], utc=True).dt.tz_localize(None).astype("datetime64[s]")
        return pd.Series(rows["label"].to_numpy(float), index=pd.MultiIndex.from_frame(rows[key].astype(str).assign(time=time)))


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype("object").apply(lambda c: c.map(lambda v: "" if pd.isna(v) else str(v))) if len(frame) else frame.astype(str)


def clean_inputs() -> dict[str, Input]:
    "One of each kind."
    rng, out = np.random.default_rng(7), {}
    bars = noise_bars(150, symbols=2, seed=5, freq="1h")
    out["bars"] = Input("bars", {f"{s}.csv": _text(b.drop(columns="symbol").round(6)) for s, b in bars.groupby("symbol")}, "NOISE0.csv")
    days = pd.date_range("2023-01-28", periods=40).repeat(2)
    shops = pd.DataFrame(
        {
            "day": days.strftime("%Y-%m-%d"),
            "shop": ["Äpfel 1", "0042"] * 40,
            "price": rng.normal(2, 0.2, 80).round(3),
            "share": rng.uniform(0.05, 0.95, 80).round(3),
            "place": rng.choice(["in", "out"], 80),
            "sold": rng.poisson(30, 80) + 1,
        }
    )
    about = {
        "name": "shops",
        "path": "rows.csv",
        "task": "regression",
        "time": "day",
        "symbol": "shop",
        "label": "sold",
        "label_lag": "14h",
        "features": {"price": "numeric", "share": "numeric", "place": "category"},
    }
    out["table"] = Input("table", {"rows.csv": _text(shops)}, "rows.csv", about)
    out["history"] = Input(
        "history",
        {"rows.csv": _text(shops)},
        "rows.csv",
        about
        | {
            "history": {"sold": {"last": [1], "mean": [7], "same": "weekday", "since": True}, "price": {"change": [1]}},
            "calendar": ["weekday"],
        },
    )
    names = [f"Club {k}" for k in range(6)]
    games = [
        (pd.Timestamp(f"{2018 + s}-08-15") + pd.Timedelta(days=7 * r), *pair, int(rng.poisson(1.5)), int(rng.poisson(1.2)))
        for s in range(2)
        for r in range(10)
        for pair in rng.permutation(names).reshape(-1, 2)
    ]
    games = pd.DataFrame(games, columns=["Date", "Home", "Away", "HG", "AG"]).assign(Date=lambda t: t["Date"].dt.strftime("%Y-%m-%d"))
    out["league"] = Input(
        "league",
        {"games.csv": _text(games)},
        "games.csv",
        {
            "name": "cup",
            "path": "games.csv",
            "task": "multiclass",
            "games": {"date": "Date", "home": "Home", "away": "Away", "home_score": "HG", "away_score": "AG"},
        },
    )
    world = league(seasons=2, teams=4, players_per_team=4, weeks=6, seed=3)
    out["nfl"] = Input("nfl", {f"{file}.csv": _text(getattr(world, name)) for name, file in NFL_FILES.items()}, "games.csv")
    return out


MUTATIONS: dict[str, tuple[Callable, bool, tuple[str, ...]]] = {}
EVERY = ("bars", "table", "history", "league", "nfl")


def mutation(told: bool = True, kinds: tuple[str, ...] = EVERY):
    "Register one; `told` where every reader can see it: the same labels, fewer, a word, or a refusal."

    def register(function: Callable[[Input, np.random.Generator], None]) -> Callable:
        MUTATIONS[function.__name__] = (function, told, kinds)
        return function

    return register


def pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


TIME = {"bars": "time", "table": "day", "history": "day", "league": "Date", "nfl": "gameday"}
NUMBERS = {
    "bars": PRICES,
    "table": ["price", "share", "sold"],
    "history": ["price", "share", "sold"],
    "league": ["HG", "AG"],
    "nfl": ["home_score", "away_score", "spread_line", "week", "season"],
}
NAMES = {"bars": None, "table": "shop", "history": "shop", "league": "Home", "nfl": "home_team"}


def cells(x: Input, rng, column: str, to: Callable[[str], str], share: float | None = None) -> None:
    "Change one cell, a few, or all of a column."
    share = pick(rng, (0.0, 0.1, 1.0)) if share is None else share
    hit = rng.random(len(x.frame)) < share
    hit[int(rng.integers(len(x.frame)))] = True
    values = x.frame[column].to_numpy(object).copy()
    values[hit] = [to(v) if v != "" else v for v in values[hit]]
    x.frame = x.frame.assign(**{column: values})


# --- bytes and forms ---


@mutation()
def delimiter(x, rng):
    x.how["sep"] = pick(rng, [";", "\t", "|"])


@mutation()
def encoding(x, rng):
    x.encoding = pick(rng, ["utf-16", "utf-8-sig", "latin-1", "cp1252", "utf-16-le", "utf-16-be", "utf-32", "cp037"])


@mutation()
def quotes(x, rng):
    x.how["quoting"] = pick(rng, [1, 2])


@mutation()
def line_ends(x, rng):
    x.how["lineterminator"] = pick(rng, ["\r\n", "\r", "\n\n", "\r\r\n"])


@mutation()
def lines_around(x, rng):
    "An address, a title, a comment, blank lines, a footer, the header once more."
    extra = pick(rng, [b"https://example.org/export\n", b"\n\n", b"# exported\n", b"My export\n", b";;;;\n", b"sep=,\n", b'"Report of"\n'])
    end = pick(rng, [b"", b"\n\n", b"Total,,,\n", b"# end\n", b"(3 rows)\n", b"\x1a"])
    head = bool(rng.integers(2))
    again = bool(rng.integers(4) == 0)

    def change(raw):
        lines = raw.split(b"\n")
        if again:
            lines.insert(len(lines) // 2, lines[0])
        return (extra if head else b"") + b"\n".join(lines) + end

    x.after.append(change)


@mutation()
def header(x, rng):
    "Case, space, quotes, another column of numbers or text, order."
    what = pick(rng, ["upper", "pad", "title", "index", "extra", "order", "empty"])
    f = x.frame
    if what in ("upper", "title"):
        f = f.rename(columns=getattr(str, what))
    elif what == "pad":
        f = f.rename(columns=lambda c: f" {c} ")
    elif what == "index":
        f = f.reset_index(names=pick(rng, ["", "Unnamed: 0", "index"])).astype(str)
    elif what == "extra":
        f = f.assign(**{pick(rng, ["note", "id", "comment", "x" * 500]): pick(rng, ["a", "1", "", "é"])})
    elif what == "order":
        f = f[list(rng.permutation(f.columns))]
    else:
        f = f.assign(**{"": ""})
    x.frame = f


@mutation()
def header_wrong(x, rng):
    "A name that is missing, twice, or another one; no header at all."
    what, names = pick(rng, ["drop", "twice", "wrong", "none", "swap"]), list(x.frame.columns)
    k = int(rng.integers(len(names)))
    if what == "drop":
        x.frame = x.frame.drop(columns=names[k])
    elif what == "none":
        x.how["header"] = False
    else:
        names[k] = {"twice": names[k - 1], "wrong": names[k] + "x", "swap": names[k][::-1]}[what]
        x.frame = x.frame.set_axis(names, axis=1)


@mutation()
def cut(x, rng):
    "The file ends at the end of a line."
    keep = int(rng.integers(0, len(x.frame)))
    x.frame = x.frame[:keep]


@mutation(told=False)
def cut_within(x, rng):
    share = rng.random()
    x.after.append(lambda raw: raw[: int(len(raw) * share)])


@mutation(told=False)
def flips(x, rng):
    seed = int(rng.integers(1 << 30))

    def change(raw):
        r, out = np.random.default_rng(seed), bytearray(raw)
        for _ in range(int(r.integers(1, 12))):
            if out:
                k = int(r.integers(len(out)))
                out[k] = int(r.integers(256)) if r.random() < 0.5 else out[k] ^ (1 << int(r.integers(8)))
        return bytes(out)

    x.after.append(change)


@mutation(told=False)
def pieces(x, rng):
    "A piece twice, gone, or of other bytes."
    seed = int(rng.integers(1 << 30))

    def change(raw):
        r = np.random.default_rng(seed)
        a, b = sorted(int(v) for v in r.integers(0, len(raw) + 1, 2))
        b = min(b, a + 400)
        return raw[:a] + pick(r, [b"", raw[a:b] * 2, b"\x00" * 20, r.bytes(30), b",,,,", b'"', b"\n\n\n", "é€𝟙".encode()]) + raw[b:]

    x.after.append(change)


@mutation(told=False)
def other_file(x, rng):
    "Not the file that its name says."
    raw = pick(
        rng,
        [
            b"",
            b"\n",
            b"PAR1",
            b"PK\x03\x04",
            b"\x1f\x8b\x08",
            b"<html><body>Not found</body></html>",
            b"{}",
            b"[]",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            rng.bytes(500),
            b"a" * 100_000,
            b"," * 5000,
            b'"' * 99,
        ],
    )
    x.after.append(lambda _: raw)


@mutation()
def odd_file(x, rng):
    x.odd = pick(rng, ["link", "folder", "gone", "pipe"])


@mutation()
def beside(x, rng):
    "Files that are none of the data's."
    name = pick(
        rng,
        [
            "README.txt",
            "notes.csv",
            ".DS_Store",
            "~$x.xlsx",
            "Thumbs.db",
            "LICENSE",
            "a.json",
            "checksums.md5",
            "empty.csv",
            "copy.csv.bak",
            ".hidden.csv",
            "x.parquet",
        ],
    )
    x.beside[name] = pick(rng, [b"", b"hello\n", b"a,b\n1,2\n", rng.bytes(200)])


# --- rows and keys ---


@mutation()
def order(x, rng):
    x.frame = x.frame.sample(frac=1, random_state=int(rng.integers(1 << 30))) if rng.integers(2) else x.frame[::-1]


@mutation()
def again(x, rng):
    "Equal rows once more."
    x.frame = pd.concat([x.frame, x.frame.sample(int(rng.integers(1, 20)), random_state=int(rng.integers(1 << 30)))])


@mutation()
def contradict(x, rng):
    "A key's row once more, with another outcome."
    row = x.frame.sample(1, random_state=int(rng.integers(1 << 30)))
    column = {"bars": "close", "table": "sold", "history": "sold", "league": "HG", "nfl": "home_score"}[x.kind]
    value = float(row[column].iloc[0] or 0)
    other = {"bars": f"{value * 1.0001:.6f}"}.get(x.kind, f"{value + 3:g}")
    x.frame = pd.concat([x.frame, row.assign(**{column: other})], ignore_index=True)
    if x.kind == "bars":
        x.frame = x.frame.sort_values("time", kind="stable")


@mutation()
def names(x, rng):
    "Space, quotes and case around the name of who a row is about: everywhere for what nobody sees, in some rows for the rest."
    unseen = [lambda v: v + " ", lambda v: f"\t{v}", lambda v: v + "\u00a0", lambda v: v + "\u200b", lambda v: "\ufeff" + v]
    seen = [
        lambda v: v.upper(),
        lambda v: v.lower(),
        lambda v: v.replace(" ", "  "),
        lambda v: v.replace(" ", "\u00a0"),
        lambda v: f"'{v}'",
        lambda v: v.replace(" ", "\u200b "),
        lambda v: v.replace("Ä", "A\u0308"),
    ]
    anywhere = bool(rng.integers(2))
    to, share = pick(rng, unseen if anywhere else seen), None if anywhere else pick(rng, (0.0, 0.1))
    if not NAMES[x.kind]:
        x.frame = x.frame.assign(symbol="NOISE0")
    cells(x, rng, NAMES[x.kind] or "symbol", to, share)


@mutation()
def names_missing(x, rng):
    if NAMES[x.kind]:
        cells(x, rng, NAMES[x.kind], lambda v: "")
    else:
        x.frame = x.frame.assign(symbol="NOISE0")
        cells(x, rng, "symbol", lambda v: pick(rng, ["", "nan", "None"]))


@mutation(kinds=("bars",))
def file_names(x, rng):
    new = pick(
        rng,
        [
            "NOISE0-1h.csv",
            "NOISE0.CSV",
            "NOISE0_2020.csv",
            "NOISE0.csv.csv",
            "NOISE0.txt",
            "2020/NOISE0.csv",
            "NOISE0-1h-2020-01.csv",
            "NOISE1_1h.csv",
        ],
    )
    half = bool(rng.integers(2))
    frame = x.files.pop(x.main)
    if half:
        x.files[x.main] = frame[:70]
        x.files[new] = frame[70:]
    else:
        x.files[new], x.main = frame, new


@mutation(told=False, kinds=("bars",))
def file_named(x, rng):
    "A name that says another symbol."
    new = pick(
        rng,
        [
            "copy of NOISE0.csv",
            "NOISE0 (1).csv",
            "noise0.csv",
            "bars.csv",
            "données.csv",
            "a b.csv",
            ".csv",
            "-.csv",
            "X" * 200 + ".csv",
            "%.csv",
            "a\nb.csv",
            "..csv",
            "=1+1.csv",
        ],
    )
    x.files[new] = x.files.pop(x.main)
    x.main = new


# --- times ---

FORMATS = [
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%Y%m%d %H%M%S",
    "%Y-%m-%d %I:%M %p",
    "%d.%m.%Y %H:%M:%S",
    "%b %d, %Y %H:%M",
    "%Y/%m/%d %H:%M",
    "%d-%b-%Y %H:%M",
    "%y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.000+00:00",
    "%Y-%m-%d %H:%M:%S UTC",
    "%a %d %b %Y %H:%M",
    "%Y-%j %H:%M",
    "%Y-%m-%d %H:%M EST",
    "%Y%m%d",
    "%d/%m/%y",
]


@mutation()
def time_form(x, rng):
    "Another form of the whole column, or of a part."
    form = pick(rng, FORMATS)
    daily = x.kind != "bars"
    cells(
        x,
        rng,
        TIME[x.kind],
        lambda v: pd.Timestamp(v).strftime(form.split(" %H")[0] if daily and " %H" in form and "T" not in form else form),
    )


@mutation()
def epochs(x, rng):
    unit = pick(rng, [1, 10**3, 10**6, 10**9])
    cells(x, rng, TIME[x.kind], lambda v: str(int(pd.Timestamp(v).timestamp()) * unit), share=pick(rng, (0.0, 1.0)))


@mutation()
def time_odd(x, rng):
    bad = pick(
        rng,
        [
            "",
            "n/a",
            "????",
            "2023-13-45",
            "0000-00-00",
            "1e999",
            "inf",
            "-1",
            "0",
            "9" * 30,
            "2023-02-30",
            "31/02/2023",
            "1850-01-01",
            "2300-01-01",
            "12:30",
            "today",
            "45000.5",
            "1,5",
            "２０２３-01-01",
            "2023-01-01T25:00:00",
            "=TODAY()",
        ],
    )
    cells(x, rng, TIME[x.kind], lambda v: bad)


@mutation()
def zones(x, rng):
    zone = pick(rng, ["Z", "+00:00", " +0000", " UTC", "+99:00"])
    cells(x, rng, TIME[x.kind], lambda v: (v[:19] if x.kind == "bars" else v + "T00:00:00") + zone)


@mutation(told=False)
def zones_elsewhere(x, rng):
    "Other instants, and so written."
    zone = pick(rng, ["+05:30", "-05:00", " America/New_York", " CET"])
    cells(x, rng, TIME[x.kind], lambda v: (v[:19] if x.kind == "bars" else v + "T00:00:00") + zone)


# --- numbers ---


def worded(rng) -> Callable[[str], str]:
    "A number in another form."
    return pick(
        rng,
        [
            lambda v: f"{float(v):,.3f}",
            lambda v: v.replace(".", ","),
            lambda v: f"${v}",
            lambda v: f"{v} €",
            lambda v: f"({v})",
            lambda v: v.replace("-", "\u2212"),
            lambda v: f"{v}%",
            lambda v: "-",
            lambda v: "—",
            lambda v: f" {v} ",
            lambda v: f"{float(v):e}",
            lambda v: v.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
            lambda v: f"{v}k",
            lambda v: f"'{v}",
            lambda v: f"+{v}",
            lambda v: f"{v}.",
            lambda v: f"{v}f",
            lambda v: f"1_{v}",
            lambda v: f"0x{int(abs(float(v))):x}",
            lambda v: f"{v}\u00a0",
            lambda v: f"{v} (a)",
            lambda v: f"~{v}",
            lambda v: "TRUE",
        ],
    )


@mutation()
def number_form(x, rng):
    to = worded(rng)
    cells(x, rng, pick(rng, NUMBERS[x.kind]), to)


@mutation()
def all_numbers(x, rng):
    "Every number of the file in that form, as an export of a country has it."
    to = pick(rng, [lambda v: v.replace(".", ","), lambda v: f"{float(v):,.6f}", lambda v: f"{v}0" if "." in v else v, lambda v: f" {v}"])
    for c in NUMBERS[x.kind]:
        if c in x.frame:
            cells(x, rng, c, to, share=1.0)
    if rng.integers(2):
        x.how["sep"] = ";"


@mutation(kinds=("bars", "table", "league", "nfl"))
def number_odd(x, rng):
    below = [] if x.kind == "table" else ["-1"]  # a label of anybody's may be one
    bad = pick(
        rng,
        [
            *below,
            "",
            "nan",
            "NA",
            "null",
            "None",
            "#N/A",
            "inf",
            "-inf",
            "1e400",
            "-1e400",
            "1e300",
            "abc",
            "9" * 400,
            "1.2.3",
            "--5",
            "é",
            "\x00",
            "NaT",
        ],
    )
    cells(x, rng, pick(rng, NUMBERS[x.kind]), lambda v: bad, share=pick(rng, (0.0, 0.1)))


@mutation(told=False)
def number_other(x, rng):
    "Another number that could be one."
    cells(x, rng, pick(rng, NUMBERS[x.kind]), lambda v: pick(rng, ["0", "1", "2", "100"]), share=pick(rng, (0.0, 0.1)))


@mutation(kinds=("bars",))
def scale(x, rng):
    "A split, a hundredfold bar, another unit from a day on, swapped columns."
    what, k = pick(rng, ["split", "bar", "from", "swap", "negative"]), int(rng.integers(10, 140))
    f = x.frame.copy()
    values = f[PRICES].astype(float)
    if what in ("split", "from"):
        values.iloc[k:] *= pick(rng, [0.5, 0.1, 0.25, 2, 10, 100])
    elif what == "bar":
        values.iloc[k] *= pick(rng, [100, 0.01, 1000])
    elif what == "negative":
        values.iloc[k] *= -1
    else:
        values[["high", "low"]] = values[["low", "high"]].to_numpy()
    x.frame = f.assign(**{c: values[c].round(8).astype(str) for c in PRICES})


@mutation(kinds=("table", "history"))
def share_scale(x, rng):
    k = int(rng.integers(5, 75))
    value = x.frame["share"].astype(float)
    new = (value * 100).where(np.arange(len(value)) >= k, value) if rng.integers(2) else value * 100
    sign = pick(rng, ["", "%"])
    x.frame = x.frame.assign(share=[f"{v:g}{sign}" for v in new])


# --- rows that are no observation ---


@mutation(kinds=("bars",))
def fillers(x, rng):
    "Bars while nothing traded: repeats of the last price, empty, or zero."
    what, k, n = pick(rng, ["repeat", "repeat_no_volume", "empty", "zero", "tail"]), int(rng.integers(60, 140)), int(rng.integers(8, 80))
    f = x.frame.reset_index(drop=True)
    k = len(f) if what == "tail" else k
    start = pd.Timestamp(f["time"][k - 1])
    last = f["close"][k - 1]
    value = {"empty": "", "zero": "0"}.get(what, last)
    rows = pd.DataFrame({"time": [str(start + pd.Timedelta(hours=i + 1)) for i in range(n)], **{c: value for c in PRICES}, "volume": "0"})
    later = f[k:].assign(time=lambda t: [str(pd.Timestamp(v) + pd.Timedelta(hours=n)) for v in t["time"]])
    f = pd.concat([f[:k], rows, later], ignore_index=True)
    x.frame = f.drop(columns="volume") if what == "repeat_no_volume" else f


@mutation(kinds=("league", "nfl"))
def placeholders(x, rng):
    "Games to come with 0-0, without a score, postponed."
    row = x.frame.tail(1)
    score = ["HG", "AG"] if x.kind == "league" else ["home_score", "away_score"]
    value = pick(rng, ["0", "", "P", "postponed", "-", "0.0"])
    day = pick(rng, ["2099-01-01", "2030-09-01"])
    new = row.assign(**{TIME[x.kind]: day, **dict.fromkeys(score, value)})
    if x.kind == "nfl":
        new = new.assign(
            game_id="2099_01_X_Y", season="2099", week="1", **({"result": "" if value != "0" else "0"} if "result" in row else {})
        )
    x.frame = pd.concat([x.frame, new], ignore_index=True)


@mutation(kinds=("nfl",))
def words(x, rng):
    column = pick(rng, [c for c in ("game_type", "location", "roof", "home_team", "away_team") if c in x.frame])
    word = pick(
        rng,
        [
            "reg",
            "REG ",
            "Regular",
            "regular season",
            "Pre",
            "PRO BOWL",
            "neutral",
            "Neutral ",
            "N",
            "yes",
            "dome ",
            "indoor",
            "opne",
            "Kansas City",
            "XX",
            "",
            "null",
            "Preseason",
            "ALLSTAR",
            "WILDCARD",
            "Rge",
        ],
    )
    cells(x, rng, column, lambda v: word, share=pick(rng, (0.0, 0.2)))


@mutation(kinds=("nfl",))
def other_table(x, rng):
    "The same mutations fall on another file of the folder."
    x.main = pick(rng, ["player_stats.csv", "players.csv", "teams.csv"])
    column = pick(rng, list(x.frame.columns))
    bad = pick(rng, ["", "abc", "-1", "1e9", "inf", " ", "é", "2023-13-01", "TRUE", "1,5"])
    cells(x, rng, column, lambda v: bad)


@mutation(told=False, kinds=("nfl",))
def twice(x, rng):
    "A table in two files, one of them older or of other rows."
    x.files[pick(rng, ["games_2.csv", "games_old.csv", "schedules.csv", "sub/games.csv"])] = x.frame.sample(
        frac=pick(rng, [0.3, 1.0]), random_state=1
    )


# --- what a description says ---


@mutation(told=False, kinds=("table", "history", "league"))
def described(x, rng):
    "A key of the YAML that is missing, of another type, misspelt or absurd."
    odd = [
        None,
        5,
        -1,
        True,
        [],
        {},
        "",
        "x",
        "nan",
        1e308,
        [1, 2],
        {"a": 1},
        "0h",
        "-3D",
        "14",
        "1h",
        ["day"],
        "../x",
        "\x00",
        "a" * 5000,
        "rows.csv",
        "2023-01-01",
        {"price": "numeric"},
        {"price": 5},
        [[1]],
    ]
    place = x.about
    while True:
        key = pick(rng, list(place))
        if isinstance(place[key], dict) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        break
    what = rng.random()
    if what < 0.15:
        del place[key]
    elif what < 0.3:
        place[str(key) + "x"] = place.pop(key)
    else:
        place[key] = deepcopy(pick(rng, odd))


@mutation(told=False, kinds=("history",))
def history_words(x, rng):
    values = [
        0,
        -1,
        1,
        7,
        10**9,
        "7D",
        "0D",
        "-1D",
        "7X",
        True,
        "NaN",
        float("nan"),
        float("inf"),
        [1],
        None,
        "weekday",
        "1e3D",
        2.5,
        "9999999D",
    ]
    entry = {
        pick(rng, ["last", "mean", "sd", "ewma", "change", "since", "same", "meen", "outcome"]): [
            pick(rng, values) for _ in range(int(rng.integers(1, 4)))
        ]
        if rng.random() < 0.7
        else pick(rng, values)
    }
    name = pick(
        rng,
        [
            "sold",
            "price",
            "sold by place",
            "sold against shop",
            "nothing",
            "sold by nothing",
            "place",
            "day",
            "sold by",
            "sold  by place",
            "",
            "share against",
        ],
    )
    x.about["history"] = {name: entry}
    x.about["calendar"] = pick(
        rng, [["weekday"], ["month", "hour"], [{"holidays": "DE"}], [{"holidays": "XX"}], ["x"], "weekday", [5], {}, None]
    )


OF_TIMES = {"time_form", "epochs", "time_odd", "zones", "zones_elsewhere"}


def mutated(seed: int, clean: dict[str, Input], kinds: tuple[str, ...] = EVERY) -> tuple[Input, list[str], bool]:
    "An input with one mutation, or two; their names; whether they can be told."
    rng = np.random.default_rng([11, seed])
    kind = pick(rng, kinds)
    x, said, told = deepcopy(clean[kind]), [], True
    own = [n for n, (_, _, where) in MUTATIONS.items() if kind in where]
    for _ in range(1 if rng.random() < 0.7 else 2):
        # a date that was written in another way is not read again by this page
        name = pick(rng, [n for n in own if not said or n not in said and not {n, *said} <= OF_TIMES])
        change, can, _ = MUTATIONS[name]
        try:
            change(x, rng)
        except (KeyError, ValueError, IndexError):  # a second one that the first leaves nothing to work on
            if not said:
                raise
            continue
        said.append(name)
        told &= can
    return x, said, told
