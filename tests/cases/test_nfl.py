"""NFL tables as people have them: each kind of file in several forms, through the function, and some through the command."""

import logging

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import DataError
from lineupiq.data.nfl import load_nfl_tables, team_games
from lineupiq.data.simulate import league
from lineupiq.data.sources import load_panel

NAMES = {"schedules": "games", "player_stats": "player_stats", "players": "players", "teams": "teams"}


@pytest.fixture(scope="module")
def played():
    "Three short seasons of eight teams, raw tables by name."
    world = league(seasons=3, teams=8, players_per_team=4, weeks=8, seed=3)
    tables = {name: getattr(world, name) for name in NAMES}
    tables["players"] = tables["players"].assign(draft_pick=np.arange(1, len(tables["players"]) + 1), pfr_id=tables["players"]["gsis_id"])
    return tables


@pytest.fixture
def folder(tmp_path, played):
    "Write the tables as CSV files into a folder of that name, some of them changed; None leaves one out."

    def write(name: str = "nfl", sep: str = ",", encoding: str = "utf-8", **changes):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        for table, frame in {**played, **changes}.items():
            if frame is not None:
                frame.to_csv(place / f"{NAMES.get(table, table)}.csv", index=False, sep=sep, encoding=encoding)
        return place

    return write


def games_of(place, **how):
    return load_panel("nfl-games", path=place, **how).frame


def receivers(place):
    return load_panel("nfl-players", path=place, position="WR", target="receiving_yards").frame


def refused(place, *words, load=load_nfl_tables):
    with pytest.raises(DataError) as said:
        load(place)
    for word in words:
        assert word in str(said.value), (word, str(said.value))
    return str(said.value)


def as_text(column):
    return column.map(lambda v: "" if pd.isna(v) else f"{v:g}").astype("object")


# --- one key, one row ---


def playoffs(table, column, weeks=(7, 8), restart=True, word="POST"):
    "The last weeks as play-offs, counted from 1 again or not."
    late = table["week"].isin(weeks)
    return table.assign(
        **{column: np.where(late, word, "REG"), "week": table["week"].where(~late | (not restart), table["week"] - min(weeks) + 1)}
    )


@pytest.mark.parametrize("word", ["POST", "Postseason", "play-offs", "WC"])
def test_weeks_that_begin_again_are_counted_on(folder, played, caplog, word):
    pair = []
    for restart in (False, True):
        pair.append(
            folder(
                str(restart),
                schedules=playoffs(played["schedules"], "game_type", restart=restart, word=word),
                player_stats=playoffs(played["player_stats"], "season_type", restart=restart),
            )
        )
    with caplog.at_level(logging.WARNING, "lineupiq"):
        pd.testing.assert_frame_equal(receivers(pair[0]), receivers(pair[1]))
    assert "weeks that begin at 1 again" in caplog.text
    pd.testing.assert_frame_equal(games_of(pair[0]).drop(columns="game_id"), games_of(pair[1]).drop(columns="game_id"))


def test_weeks_that_meet_are_refused(folder, played):
    "Without a word on which is which, or where they overlap otherwise."
    stats = playoffs(played["player_stats"], "season_type")
    refused(
        folder(schedules=playoffs(played["schedules"], "game_type"), player_stats=stats.drop(columns="season_type")),
        "one key and say different things",
        "season_type",
    )
    refused(folder(schedules=playoffs(played["schedules"], "game_type").drop(columns="game_type")), "one week")
    late = played["schedules"].assign(game_type=np.where(played["schedules"]["week"] == 6, "POST", "REG"))
    refused(folder(schedules=late), "regular season and to the play-offs")


def roster(played, **columns):
    players = played["players"]
    return pd.DataFrame(
        {
            "season": 2017,
            "team": "BUF",
            "position": players["position"],
            "status": "ACT",
            "full_name": players["name"],
            "birth_date": players["birthdate"],
            "gsis_id": players["gsis_id"],
            **columns,
        }
    )


def test_a_roster_is_no_table_of_players(folder, played, caplog):
    right = load_nfl_tables(folder("right"))["players"]
    forms = [
        roster(played),
        roster(played, depth_chart_position="WR").drop(columns="season"),
        roster(played, draft_number=9, entry_year=2010),
    ]
    for number, form in enumerate(forms):
        with caplog.at_level(logging.WARNING, "lineupiq"):
            pd.testing.assert_frame_equal(right, load_nfl_tables(folder(str(number), roster_2017=form))["players"])
    assert caplog.text.count("it is a roster") == len(forms)


def test_a_roster_by_week_is_a_table(folder, played, caplog):
    "Read beside the others, and no table of players; a roster of a season, in the same columns, says nothing of its weeks."
    right = load_nfl_tables(folder("right"))["players"]
    tables = load_nfl_tables(folder("weeks", roster_weekly=roster(played, week=1)))
    pd.testing.assert_frame_equal(right, tables["players"])
    assert len(tables["rosters"]) == len(played["players"]) and set(tables["rosters"]["status"]) == {"ACT"}
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert not len(
            load_nfl_tables(folder("year", roster_2017=roster(played, week=np.arange(len(played["players"])) % 8 + 1)))["rosters"]
        )
    assert "a roster of a season" in caplog.text


def test_players_complete_each_other(folder, played, caplog):
    "A second list of players without drafts and birthdays takes none away."
    right = load_nfl_tables(folder("right"))["players"]
    bare = pd.DataFrame({"gsis_id": played["players"]["gsis_id"], "position": played["players"]["position"], "birth_date": ""})
    pd.testing.assert_frame_equal(right, load_nfl_tables(folder(zz_players=bare))["players"][list(right)])


def test_an_older_copy_takes_no_result_away(folder, played, caplog):
    games = played["schedules"]
    blank = games.assign(**{c: games[c].where(games["season"] < 2017) for c in ("home_score", "away_score", "result", "total")})
    right = games_of(folder("right"))
    zeros = games.assign(**{c: games[c].where(games["season"] < 2017, 0) for c in ("home_score", "away_score")})
    for number, old in enumerate((blank, blank[blank["season"] == 2017], zeros)):
        for name in ("games_2017-08", "a_games"):
            with caplog.at_level(logging.WARNING, "lineupiq"):
                pd.testing.assert_frame_equal(right, games_of(folder(f"{name}{number}", **{name: old})))
    assert "row(s) have a result in one place and none in another; the result stays" in caplog.text


def test_the_older_copy_gives_no_dates_or_prices_either(folder, played):
    "Of a game to come the copy that knows more results is right, under whichever name it lies."
    games = played["schedules"]
    scores = ["home_score", "away_score", "result", "total"]
    now = games.assign(**{c: games[c].mask((games["season"] == 2017) & (games["week"] > 5)) for c in scores})
    old = games.assign(spread_line=1.5, **{c: games[c].mask(games["season"] == 2017) for c in scores})
    tables = load_nfl_tables(folder(schedules=now, zz_old=old))["schedules"]
    assert (
        tables["spread_line"].to_numpy() == load_nfl_tables(folder("right", schedules=now))["schedules"]["spread_line"].to_numpy()
    ).all()


def test_rows_that_are_there_twice(folder, played, caplog):
    stats = played["player_stats"]
    right = receivers(folder("right"))
    pd.testing.assert_frame_equal(right, receivers(folder("equal", player_stats=pd.concat([stats, stats[:50]]))))
    changed = stats[:1].assign(receiving_yards=77)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        tables = load_nfl_tables(folder("corrected", stats_corrected=changed))
    assert "1 row(s) that are there twice differ" in caplog.text and str(stats["player_id"][0]) in caplog.text
    assert (tables["player_stats"]["receiving_yards"] == 77).any()
    refused(folder("clash", player_stats=pd.concat([stats, stats[:50].assign(receiving_yards=77)])), "one key and say different things")
    refused(
        folder("scores", schedules=pd.concat([played["schedules"], played["schedules"][:1].assign(home_score=99)])),
        "one key and say different things",
    )


# --- text that does not fit ---


@pytest.mark.parametrize("sep,encoding", [(";", "utf-8"), ("\t", "utf-8"), ("|", "utf-8-sig"), (",", "utf-16")])
def test_files_in_other_forms(folder, sep, encoding):
    pd.testing.assert_frame_equal(games_of(folder("right")), games_of(folder(sep=sep, encoding=encoding)))


def test_other_files_in_the_folder(folder, caplog):
    place = folder(zz_like=pd.DataFrame(columns=["season", "week", "home_team", "away_team", "home_score", "away_score", "date"]))
    (place / "README.txt").write_text("")
    (place / "prices.csv").write_text("1,2,3\n4,5,6\n")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        pd.testing.assert_frame_equal(games_of(folder("right")), games_of(place))
    assert all(word in caplog.text for word in ("without gameday", "README.txt", "prices.csv"))


def test_headers_with_capitals(folder, played):
    games = played["schedules"].rename(columns=lambda c: c.replace("_", " ").title())
    pd.testing.assert_frame_equal(games_of(folder("right")), games_of(folder(schedules=games)))


@pytest.mark.parametrize(
    "table,column,value,words",
    [
        ("schedules", "week", "WildCard", ["games.csv", "'week'", "'WildCard'"]),
        ("schedules", "week", "Week 1", ["'week'", "'Week 1'"]),
        ("schedules", "season", "2015-16", ["'season'"]),
        ("schedules", "home_score", "20 (OT)", ["'home_score'"]),
        ("schedules", "home_score", -3, ["'home_score'", "cannot be right"]),
        ("schedules", "gameday", "Sunday", ["'gameday'", "'Sunday'"]),
        ("schedules", "home_moneyline", 1.91, ["American"]),
        ("schedules", "spread_line", "KC -3", ["'spread_line'"]),
        ("player_stats", "carries", "-", ["player_stats.csv", "'carries'", "'-'"]),
        ("player_stats", "week", "", ["'week'", "missing"]),
        ("player_stats", "attempts", "1O", ["'attempts'", "'1O'"]),
        ("player_stats", "receiving_yards", "inf", ["'receiving_yards'"]),
        ("player_stats", "targets", -4, ["'targets'"]),
        ("players", "birthdate", "unknown", ["players.csv", "'birthdate'"]),
        ("players", "draft_year", "UDFA", ["'draft_year'"]),
    ],
)
def test_a_value_that_does_not_fit_is_named(folder, played, table, column, value, words):
    frame = played[table].astype({column: object})
    frame.loc[frame.index[:3], column] = value
    refused(folder(**{table: frame}), *words)


@pytest.mark.parametrize("form", [lambda v: f"{v:.1f}".replace(".", ","), lambda v: f"{v:.2f}".replace(".", ",")])
@pytest.mark.parametrize("column", ["fantasy_points_ppr", "receiving_epa", "own_grade"])
def test_decimal_commas_are_named(folder, played, form, column):
    stats = played["player_stats"]
    refused(
        folder(sep=";", player_stats=stats.assign(**{column: (stats["receiving_yards"] / 7).map(form)})),
        f"'{column}'",
        "a point for the comma",
    )


def test_all_problems_at_once(folder, played):
    said = refused(
        folder(
            schedules=played["schedules"].assign(week="one", roof="Tent"),
            player_stats=played["player_stats"].assign(carries="-"),
            players=played["players"].assign(birthdate="x"),
        ),
        "4 columns",
    )
    assert all(word in said for word in ("'one'", "'Tent'", "'-'", "'x'", "games.csv", "player_stats.csv", "players.csv"))


def test_refusals_of_the_command_are_three(folder, played, cli):
    changes = [
        {"schedules": played["schedules"].assign(week="WildCard")},
        {"player_stats": played["player_stats"].assign(carries="-")},
        {"player_stats": played["player_stats"].assign(fantasy_points_ppr="0,6")},
    ]
    for number, change in enumerate(changes):
        answer = cli(
            "train",
            "--data",
            "nfl-players",
            "--position",
            "WR",
            "--target",
            "receiving_yards",
            "--path",
            folder(str(number), **change),
            "--model",
            "ridge",
        )
        assert answer.code == 3 and answer.error["type"] == "DataError", answer.err


def clocks(frame, form):
    times = pd.to_datetime(frame["gametime"], format="%H:%M")
    return frame.assign(gametime=times.dt.strftime(form))


@pytest.mark.parametrize("form", ["%I:%M %p", "%I:%M%p ET", "%H:%M:%S", "%I:%M:%S %p"])
def test_clocks_are_read(folder, played, form):
    right = load_nfl_tables(folder("right"))["schedules"]["kickoff"]
    pd.testing.assert_series_equal(right, load_nfl_tables(folder(schedules=clocks(played["schedules"], form)))["schedules"]["kickoff"])


def test_clocks_that_say_two_things(folder, played):
    refused(folder("a", schedules=clocks(played["schedules"], "%I:%M")), "'gametime'", "no game begins")
    mixed = played["schedules"].assign(gametime=np.where(np.arange(len(played["schedules"])) % 2, "01:00 PM", "13:00"))
    refused(folder("b", schedules=mixed), "with and without AM or PM")
    refused(folder("c", schedules=played["schedules"].assign(gametime="noon")), "'noon'")
    refused(folder("d", schedules=played["schedules"].assign(gametime="25:10")), "'25:10'")
    unknown = load_nfl_tables(folder("e", schedules=played["schedules"].assign(gametime="TBD")))["schedules"]["kickoff"]
    assert (unknown.dt.tz_convert("America/New_York").dt.hour == 13).all()


@pytest.mark.parametrize("word", ["PK", "pick'em", "Pick", "EVEN", "pk "])
def test_a_spread_of_nothing(folder, played, word):
    games = played["schedules"]
    text = as_text(games["spread_line"]).where(games["spread_line"] != 0, word).where(games["spread_line"].abs() > 0.6, word)
    read = load_nfl_tables(folder(schedules=games.assign(spread_line=text)))["schedules"]["spread_line"]
    assert read.notna().all() and (read == 0).sum() == (games["spread_line"].abs() <= 0.6).sum()


def test_even_odds_and_other_minus_signs(folder, played):
    games = played["schedules"]
    even = as_text(games["home_moneyline"]).where(games.index % 9 > 0, "EVEN").str.replace("-", "\u2212")
    read = load_nfl_tables(
        folder(schedules=games.assign(home_moneyline=even, spread_line=as_text(games["spread_line"]).str.replace("-", "\u2212")))
    )["schedules"]
    right = load_nfl_tables(folder("right"))["schedules"]
    assert (
        read["home_moneyline"] == right["home_moneyline"].where(right["game_id"].isin(games["game_id"][games.index % 9 > 0]), 100)
    ).all()
    assert (read["spread_line"] == right["spread_line"]).all()


def reports(played):
    "Every other receiver is questionable, the day before the game."
    rows = played["player_stats"][played["player_stats"]["position"] == "WR"][::2]
    day = rows.merge(
        played["schedules"][["season", "week", "home_team", "away_team", "gameday"]],
        how="left",
        left_on=["season", "week", "recent_team"],
        right_on=["season", "week", "home_team"],
    )["gameday"]
    stamp = pd.to_datetime(day, utc=True).fillna(pd.Timestamp("2015-01-01", tz="UTC")) - pd.Timedelta("30h")
    return pd.DataFrame(
        {
            "gsis_id": rows["player_id"].to_numpy(),
            "season": rows["season"].to_numpy(),
            "week": rows["week"].to_numpy(),
            "report_status": "Questionable",
            "stamp": stamp.to_numpy(),
        }
    )


def stamped(frame, *forms):
    "Stamps in one form after the other."
    times = (
        pd.DatetimeIndex(frame["stamp"]).tz_localize("UTC")
        if pd.DatetimeIndex(frame["stamp"]).tz is None
        else pd.DatetimeIndex(frame["stamp"])
    )
    text = [forms[k % len(forms)](t) for k, t in enumerate(times)]
    return frame.drop(columns="stamp").assign(date_modified=text)


def test_stamps_of_several_forms_are_the_same_instants(folder, played):
    forms = [
        lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"),
        str,
        lambda t: t.isoformat(),
        lambda t: t.tz_convert("America/New_York").isoformat(),
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S.000+00:00"),
    ]
    right = receivers(folder("right", injuries=stamped(reports(played), forms[0])))
    assert 0.3 < (right["injury_report"] == 2).mean() < 0.7
    for number, form in enumerate(forms[1:]):
        pd.testing.assert_frame_equal(right, receivers(folder(str(number), injuries=stamped(reports(played), form))))
    pd.testing.assert_frame_equal(right, receivers(folder("mixed", injuries=stamped(reports(played), *forms))))
    epoch = stamped(reports(played), lambda t: int(t.timestamp() * 1000))
    pd.testing.assert_frame_equal(right, receivers(folder("epoch", injuries=epoch)))
    halves = [stamped(half, form) for half, form in ((reports(played)[::2], forms[0]), (reports(played)[1::2], forms[1]))]
    place = folder("files", injuries=halves[0])
    halves[1].assign(date_modified=pd.to_datetime(halves[1]["date_modified"])).to_parquet(place / "more.parquet")
    pd.testing.assert_frame_equal(right, receivers(place))


def test_stamps_that_are_not_there_are_counted(folder, played, caplog):
    refused(folder("a", injuries=stamped(reports(played), lambda t: "yesterday")), "'date_modified'", "'yesterday'")
    refused(folder("b", injuries=stamped(reports(played), str, lambda t: t.strftime("%Y-%m-%d %H:%M"))), "with and without a zone")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        load_nfl_tables(folder("c", injuries=stamped(reports(played), str, lambda t: "")))
        load_nfl_tables(folder("d", injuries=stamped(reports(played), lambda t: t.strftime("%Y-%m-%d %H:%M:%S"))))
    assert "reports have no date_modified" in caplog.text and "taken for UTC" in caplog.text


def test_births_with_the_day_first(folder, played):
    days = pd.Series(pd.date_range("1990-01-01", periods=len(played["players"]), freq="17D"))
    iso = folder("iso", players=played["players"].assign(birthdate=days.dt.strftime("%Y-%m-%d")))
    right = load_nfl_tables(iso)["players"]["birth_date"]
    for number, form in enumerate(("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%b %d, %Y", "%Y-%m-%dT00:00:00Z")):
        read = load_nfl_tables(folder(str(number), players=played["players"].assign(birthdate=days.dt.strftime(form))))["players"][
            "birth_date"
        ]
        pd.testing.assert_series_equal(right, read)
    early = days.map(lambda d: d.replace(day=1 + d.day % 12)).dt.strftime("%d/%m/%Y")
    refused(folder("unclear", players=played["players"].assign(birthdate=early)), "'birthdate'", "cannot be told apart")


def test_days_of_games(folder, played):
    games = played["schedules"]
    right = load_nfl_tables(folder("right"))["schedules"]["kickoff"]
    for number, form in enumerate(("%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%Y-%m-%d 00:00:00")):
        read = load_nfl_tables(folder(str(number), schedules=games.assign(gameday=pd.to_datetime(games["gameday"]).dt.strftime(form))))[
            "schedules"
        ]["kickoff"]
        pd.testing.assert_series_equal(right, read)


# --- words ---


def test_words_in_other_spellings(folder, played):
    games = played["schedules"]
    right = team_games(load_nfl_tables(folder("right"))["schedules"])
    flag = games["location"] == "Neutral"
    forms = [
        games.assign(location=games["location"].str.lower(), roof=games["roof"].str.title()),
        games.assign(location=games["location"].str.upper() + " ", roof=games["roof"].map({"dome": "Indoors", "outdoors": "Open-Air"})),
        games.drop(columns="location").assign(neutral_site=flag),
        games.drop(columns="location").assign(neutral=flag.astype(int)),
        games.assign(location=games["location"].where(flag)),
        games.drop(columns="location").assign(neutral=flag.map({True: "Yes", False: "no"})),
        games.assign(game_type="Regular Season"),
        games.rename(columns={"game_type": "season_type"}).assign(season_type="reg"),
    ]
    for number, form in enumerate(forms):
        pd.testing.assert_frame_equal(right, team_games(load_nfl_tables(folder(str(number), schedules=form))["schedules"]))


@pytest.mark.parametrize(
    "table,column,word,near",
    [
        ("schedules", "location", "Nuetral", "Neutral"),
        ("schedules", "roof", "Doom", "dome"),
        ("schedules", "game_type", "Regullar", "Regular"),
        ("schedules", "game_type", "Week", ""),
        ("schedules", "roof", "?", ""),
        ("player_stats", "season_type", "Rgular", ""),
        ("player_stats", "position", "QBX", "QB"),
        ("players", "position", "Wide Reciever", "WR"),
        ("schedules", "game_type", "", "missing"),
    ],
)
def test_an_unknown_word_is_an_error(folder, played, table, column, word, near):
    frame = played[table].astype({column: object})
    frame.loc[frame.index[:5], column] = word
    refused(folder(**{table: frame}), f"'{column}'", *([] if near == "missing" else [repr(word)]), "missing" if near == "missing" else "")


def test_backs_are_running_backs(folder, played):
    right = load_nfl_tables(folder("right"))["player_stats"]["position"]
    for number, word in enumerate(("HB", "FB", "Halfback", "running back", "RB/WR", "hb ")):
        stats = played["player_stats"].assign(position=played["player_stats"]["position"].replace("RB", word))
        pd.testing.assert_series_equal(right, load_nfl_tables(folder(str(number), player_stats=stats))["player_stats"]["position"])


def test_words_of_injury_reports(folder, played):
    right = receivers(folder("right", injuries=stamped(reports(played), str)))
    for number, word in enumerate(("questionable", "Q", " QUESTIONABLE")):
        pd.testing.assert_frame_equal(
            right, receivers(folder(str(number), injuries=stamped(reports(played), str).assign(report_status=word)))
        )
    refused(folder("bad", injuries=stamped(reports(played), str).assign(report_status="Questionnable")), "did you mean 'Questionable'")
    assert (receivers(folder("out", injuries=stamped(reports(played), str).assign(report_status="IR")))["injury_report"].max()) == 4


# --- rows that are no outcome ---


def show(games, word="PRE"):
    "Games in August, by the teams of the first two weeks."
    early = games[games["week"] <= 2]
    day = pd.to_datetime(early["gameday"]) - pd.Timedelta("28D")
    return early.assign(game_type=word, gameday=day.dt.strftime("%Y-%m-%d"), game_id="PRE_" + early["game_id"].astype(str))


@pytest.mark.parametrize("word", ["PRE", "Preseason", "exhibition", "Pro Bowl"])
def test_games_for_show_are_left_out(folder, played, caplog, word):
    right = games_of(folder("right"))
    with caplog.at_level(logging.WARNING, "lineupiq"):
        pd.testing.assert_frame_equal(right, games_of(folder(schedules=pd.concat([show(played["schedules"], word), played["schedules"]]))))
    assert f"{2 * 3 * 4} row(s) of pre-season or all-star games are left out" in caplog.text


def test_games_that_were_not_played(folder, played, caplog):
    games = played["schedules"]
    one = games[(games["season"] == 2016) & (games["week"] == 1)][:1]
    blank = one.assign(week=0, gameday="2016-08-30", game_id="off", **{c: np.nan for c in ("home_score", "away_score", "result", "total")})
    zero = blank.assign(home_score=0, away_score=0)
    late = blank.assign(week=8, gameday="2016-12-31", home_team="BAL", away_team="BUF")
    right = [games_of(folder("right")), receivers(folder("right"))]
    rest = games.drop(columns=["home_rest", "away_rest"])
    unrested = games_of(folder("unrested", schedules=rest))
    for number, row in enumerate((blank, zero, blank.assign(status="Postponed"), late.assign(week=9))):
        place = folder(str(number), schedules=pd.concat([games, row]))
        with caplog.at_level(logging.WARNING, "lineupiq"):
            pd.testing.assert_frame_equal(right[0], games_of(place))
            pd.testing.assert_frame_equal(right[1], receivers(place))
        pd.testing.assert_frame_equal(
            unrested, games_of(folder(f"{number}r", schedules=pd.concat([rest, row.drop(columns=["home_rest", "away_rest"])])))
        )
    assert "have no score and are left out" in caplog.text and "postponed or cancelled" in caplog.text


def test_placeholders_are_no_scores(folder, played, caplog):
    "0-0 in a week of the past, in the games to come, and in one cancelled game."
    games, scores = played["schedules"], ["home_score", "away_score", "result", "total"]
    for number, rows in enumerate(
        ((games["season"] == 2016) & (games["week"] == 4), (games["season"] == 2017) & (games["week"] >= 6), games.index == 40)
    ):
        blank, zero = (games.assign(**{c: games[c].mask(rows, value) for c in scores}) for value in (np.nan, 0.0))
        panels = []
        for name, form in (("blank", blank), ("zero", zero)):
            with caplog.at_level(logging.WARNING, "lineupiq"):
                panels.append(load_panel("nfl-games", path=folder(f"{name}{number}", schedules=form)))
        pd.testing.assert_frame_equal(panels[0].frame, panels[1].frame)
        assert panels[0].meta["ties_dropped"] == panels[1].meta["ties_dropped"]
    assert "have 0-0 for a score" in caplog.text


def test_games_to_come_are_of_this_season(folder, played):
    "Called off, for show or 0-0: the week to come holds the games that will be played."
    games, scores = played["schedules"], ["home_score", "away_score", "result", "total"]
    open_ = (games["season"] == 2017) & (games["week"] >= 6)
    blank = games.assign(**{c: games[c].mask(open_) for c in scores})
    right = games_of(folder("right", schedules=blank), upcoming=True)
    assert right["label"].isna().sum() == 4
    zero = games.assign(status=np.where(open_, "Scheduled", "Final"), **{c: games[c].mask(open_, 0.0) for c in scores})
    off = games[open_ & (games["week"] == 6)][:1].assign(week=5, gameday="2017-10-25", status="cancelled", **{c: np.nan for c in scores})
    live = games.assign(status=np.where(open_, "In progress", "Final/OT"))
    for number, form in enumerate((zero, pd.concat([blank, off]), live)):
        pd.testing.assert_frame_equal(right, games_of(folder(str(number), schedules=form), upcoming=True))


# --- scales and signs ---


def snaps(played, scale=1.0):
    stats = played["player_stats"]
    share = np.where(stats["position"] == "QB", 1.0, 0.5 + 0.4 * (np.arange(len(stats)) % 7) / 7)
    return pd.DataFrame(
        {
            "pfr_player_id": stats["player_id"],
            "season": stats["season"],
            "week": stats["week"],
            "team": stats["recent_team"],
            "offense_pct": (share * scale).round(4),
        }
    )


def test_shares_in_either_scale(folder, played, caplog):
    right = receivers(folder("right", snap_counts=snaps(played)))
    assert right["snap_share_mean3"].between(0.4, 0.95).all()
    percent = snaps(played, 100)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        np.testing.assert_allclose(right["snap_share_mean3"], receivers(folder("a", snap_counts=percent))["snap_share_mean3"], atol=1e-4)
    assert f"{len(percent)} value(s) are per cents" in caplog.text
    np.testing.assert_allclose(
        right["snap_share_mean3"],
        receivers(folder("b", snap_counts=percent.assign(offense_pct=as_text(percent["offense_pct"]) + "%")))["snap_share_mean3"],
        atol=1e-4,
    )
    by_file = folder("c", snap_counts=percent[percent["season"] < 2017], more_snaps=snaps(played)[snaps(played)["season"] == 2017])
    np.testing.assert_allclose(right["snap_share_mean3"], receivers(by_file)["snap_share_mean3"], atol=1e-4)


def test_a_change_of_scale_is_refused(folder, played):
    season = played["player_stats"]["season"]
    constant = snaps(played).assign(offense_pct=np.where(season == 2015, 85.0, 0.85))
    for number, share in enumerate(
        (
            constant["offense_pct"],
            snaps(played)["offense_pct"] * np.where(season == 2016, 100, 1),
            snaps(played)["offense_pct"] * np.where(np.arange(len(season)) % 50 == 0, 100, 1),
        )
    ):
        refused(folder(str(number), snap_counts=snaps(played).assign(offense_pct=share)), "'offense_pct'", "shares above 1")
    refused(folder("large", snap_counts=snaps(played, 1000)), "'offense_pct'", "cannot be one")
    refused(folder("negative", snap_counts=snaps(played, -1)), "'offense_pct'", "cannot be one")


def test_the_sign_of_the_spread_is_told(folder, played, caplog):
    games = played["schedules"]
    with caplog.at_level(logging.WARNING, "lineupiq"):
        load_nfl_tables(folder("right"))
    assert "spread_line" not in caplog.text
    forms = {
        "the moneylines in 3 season(s)": -games["spread_line"],
        "moneylines in 1 season(s) (2016)": games["spread_line"] * np.where(games["season"] == 2016, -1, 1),
        "the moneylines in 3": -games["spread_line"].abs(),
    }
    for words, spread in forms.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING, "lineupiq"):
            load_nfl_tables(folder("wrong", schedules=games.assign(spread_line=spread)))
        assert "contradicts" in caplog.text and words in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        load_nfl_tables(
            folder(
                "results",
                schedules=games.assign(spread_line=-20 * np.sign(games["result"])).drop(columns=["home_moneyline", "away_moneyline"]),
            )
        )
    assert "the results in 3 season(s)" in caplog.text


def test_a_folder_trains_as_it_is(folder, played, cli):
    "The command on a folder with delimiters, words and placeholders of several kinds."
    games = clocks(played["schedules"], "%I:%M %p").assign(roof=played["schedules"]["roof"].str.upper(), status="Final")
    answer = cli(
        "train",
        "--data",
        "nfl-games",
        "--path",
        folder(sep=";", schedules=pd.concat([show(games), games]), roster_2017=roster(played)),
        "--model",
        "logistic",
        "--no-publish",
        "--no-mlflow",
    )
    assert answer.code == 0, answer.err


# --- who a team is ---


def named(form):
    "Codes as full names, with the code before the nickname, or as nicknames."
    from lineupiq.data.nfl_teams import FRANCHISES

    parts = {code: [w.split(",") for w in text.split(" | ")] for code, text in FRANCHISES.items()}
    return {
        code: {"full": f"{cities[-1]} {nicks[0]}", "code": f"{code} {nicks[0]}", "nick": nicks[-1].upper()}[form]
        for code, (nicks, cities) in parts.items()
    }


@pytest.mark.parametrize("form", ["full", "code", "nick"])
def test_names_of_teams_are_their_codes(folder, played, form):
    "Full names, old cities among them, in any table and mixed with codes."
    names = named(form)
    games, stats = played["schedules"], played["player_stats"]
    column = "recent_team" if "recent_team" in stats else "team"
    plain, other = (
        folder("plain"),
        folder(
            "named",
            schedules=games.assign(
                home_team=games["home_team"].map(names),
                away_team=games["away_team"].map(names).where(games.index % 2 == 0, games["away_team"]),
            ),
            player_stats=stats.assign(**{column: stats[column].map(names)}),
        ),
    )
    pd.testing.assert_frame_equal(games_of(plain), games_of(other))
    pd.testing.assert_frame_equal(receivers(plain), receivers(other))


@pytest.mark.parametrize("wrong, near", [("Kansas City Cheifs", "Kansas City Chiefs"), ("New York", "NYG or NYJ"), ("BUFF", "BUF")])
def test_a_team_that_is_no_franchise(folder, played, wrong, near):
    games = played["schedules"]
    refused(folder(schedules=games.assign(away_team=games["away_team"].where(games.index != 3, wrong))), "games.csv", "away_team", near)


def test_a_league_of_ones_own_keeps_its_names(folder, played):
    own = {code: f"Club {k}" for k, code in enumerate(sorted(set(played["schedules"]["home_team"])))}
    games, stats = played["schedules"], played["player_stats"]
    column = "recent_team" if "recent_team" in stats else "team"
    place = folder(
        schedules=games.assign(home_team=games["home_team"].map(own), away_team=games["away_team"].map(own)),
        player_stats=stats.assign(**{column: stats[column].map(own)}),
    )
    assert set(games_of(place)["home_team"]) == set(own.values())


# --- times that cannot be ---


def test_games_are_played_in_their_season(folder, played):
    games = played["schedules"]
    refused(
        folder("a", schedules=games.assign(gameday=games["gameday"].where(games.index != 5, "1850-01-01"))), "not played in their season"
    )
    refused(folder("b", schedules=games.assign(season=games["season"] + 2)), "not played in their season")


def test_no_clock_is_told(folder, played, caplog):
    with caplog.at_level(logging.WARNING, "lineupiq"):
        load_nfl_tables(folder(schedules=played["schedules"].drop(columns="gametime")))
    assert "no column gametime" in caplog.text
