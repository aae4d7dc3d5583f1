import pytest

from pairstill.data.sources.patterns import expand_braces


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("train-*.tar", ["train-*.tar"]),
        ("t-{000..003}.tar", ["t-000.tar", "t-001.tar", "t-002.tar", "t-003.tar"]),
        ("t-{8..11}", ["t-8", "t-9", "t-10", "t-11"]),
        ("t-{08..11}", ["t-08", "t-09", "t-10", "t-11"]),
        ("{0..1}{a,b}", ["0a", "0b", "1a", "1b"]),
        ("{2..0}", ["0", "1", "2"]),
        ("{a,}{x}{1..}", ["a{x}{1..}", "{x}{1..}"]),
    ],
)
def test_ranges_and_lists_are_written_out_and_all_else_stays(pattern, names):
    assert expand_braces(pattern) == names


def test_names_without_end_are_refused():
    assert len(expand_braces("{0..8}", most=10)) == 9
    for pattern in ("{0..99999999}", "{0..3}{0..3}", "{a,b}{a,b}{a,b}{a,b}"):
        with pytest.raises(ValueError, match="stands for more than 10 names"):
            expand_braces(pattern, most=10)
