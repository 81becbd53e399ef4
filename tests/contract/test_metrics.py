"""The page of metrics is what the controller really registers."""

from tools import metrics


def test_the_page_is_up_to_date() -> None:
    assert metrics.DOC.read_text() == metrics.render(), "run python -m tools.metrics"
