"""What the demo shows: segments as bars, then and now, as they could be, cut-offs, customers, one sale on its way."""

from decimal import Decimal
from typing import Any

from cli.console import Console

BAR_WIDTH = 40
MOST_MOVES = 5
_COLOURS = {
    "champions": "green", "loyal": "green", "potential_loyalist": "cyan", "new": "cyan", "promising": "cyan",
    "need_attention": "yellow", "about_to_sleep": "yellow", "at_risk": "red", "cannot_lose": "red",
    "hibernating": "bright_black", "lost": "bright_black", "prospect": "white",
}  # fmt: skip


def segments(console: Console, distribution: dict[str, Any]) -> None:
    """A bar per segment with customers, share and revenue."""
    console.heading(f"{distribution['customers']:,} customers by segment, as of {distribution['reference_date']}")
    most = max((each["customers"] for each in distribution["segments"]), default=0) or 1
    for each in distribution["segments"]:
        length = round(BAR_WIDTH * each["customers"] / most)
        figures = f"{each['customers']:>6,} {each['share']:>7.1%} {_money(each['revenue']):>15}"
        if console.terminal:
            bar = f"[{_COLOURS.get(each['segment'], 'white')}]{'█' * length:<{BAR_WIDTH}}[/]"
            console.rich.print(f"  {each['name']:<20} {bar} {figures}")
        else:
            console.line(f"  {each['name']:<20} {'#' * length:<{BAR_WIDTH}} {figures}")


def cutoffs(console: Console, found: dict[str, Any]) -> None:
    """The bounds between the five scores of each axis."""
    console.heading(f"Cut-offs ({found['method']}): a score counts the bounds that a value has passed")
    axes = (("recency (days)", "recency_days"), ("frequency (orders)", "frequency"), ("monetary", "monetary"))
    rows = [(name, *(str(bound) for bound in found[key])) for name, key in axes]
    console.table(("", "20 %", "40 %", "60 %", "80 %"), rows)


def customer(console: Console, title: str, found: dict[str, Any]) -> None:
    """One customer with scores and profile."""
    rfm, profile, budget = found["rfm"], found["profile"], found["profile"]["budget"]
    families = ", ".join(f"{each['family']} {each['share']:.0%}" for each in profile["preferred_families"]) or "-"
    console.heading(f"{title}: {found['first_name']} {found['last_name']}, customer {found['customer_code']}")
    rows = [
        ("segment", f"{rfm['segment']}  (R{rfm['r']} F{rfm['f']} M{rfm['m']}, score {rfm['rfm_score']})"),
        ("recency", f"{rfm['recency_days']} days since {rfm['last_order_at'][:10]}"),
        ("frequency", f"{rfm['frequency']} orders since {rfm['first_order_at'][:10]}"),
        ("monetary", _money(rfm["monetary"])),
        ("average basket", _money(profile["average_basket"])),
        ("preferred families", families),
        ("budget", f"{budget['band']}: usually {budget['typical']} a unit, {budget['low']} to {budget['high']}"),
        ("orders every", f"{profile['usual_interval_days']} days, next expected {profile['next_order_expected_at']}"),
    ]
    for name, text in rows:
        console.line(f"  {name:<20} {text}")


def past(console: Console, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Customers and revenue by segment, on an earlier day and now."""
    console.heading(f"The same shop as of {then['reference_date']}, from what had happened by then")
    rows = [
        (was["name"], *(part for each in (was, now_) for part in (f"{each['customers']:,}", _money(each["revenue"]))))
        for was, now_ in zip(then["segments"], now["segments"], strict=True)
        if was["customers"] or now_["customers"]
    ]
    console.table(("", "customers then", "revenue then", "customers now", "revenue now"), rows)


def what_if(console: Console, found: dict[str, Any]) -> None:
    """The largest moves that other bounds would make."""
    axes = ", ".join(f"{key} {'/'.join(map(str, found[key]))}" for key in ("recency_days", "frequency", "monetary"))
    console.heading(f"What if the bounds were {axes}? {found['moved']:,} of {found['customers']:,} would move")
    rows = [
        (
            move["from"],
            move["to"],
            f"{move['customers']:,}",
            _money(move["revenue"]),
            move["examples"][0]["customer_code"],
        )
        for move in found["moves"][:MOST_MOVES]
    ]
    console.table(("from", "to", "customers", "revenue", "such as"), rows)


def live_sale(console: Console, before: dict[str, Any], after: dict[str, Any], milliseconds: float) -> None:
    """A customer before and after one more sale."""
    rows = [
        (name, _value(before["rfm"], key), _value(after["rfm"], key))
        for name, key in (
            ("recency (days)", "recency_days"),
            ("frequency (orders)", "frequency"),
            ("monetary", "monetary"),
            ("code", "rfm_code"),
            ("segment", "segment"),
        )
    ]
    console.table(("", "before", "after"), rows)
    console.line(f"From the start of the POST to the answer that shows it: {milliseconds:.0f} ms")


def _value(rfm: dict[str, Any], key: str) -> str:
    value = rfm[key]
    return "-" if value is None else _money(value) if key == "monetary" else str(value)


def _money(value: str | None) -> str:
    return "-" if value is None else f"{Decimal(value):,.2f}"
