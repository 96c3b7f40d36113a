"""Places on a run's way, and whoever looks."""

from diffuse_uda.landmarks import Landmark, passing, watched_by


def test_a_visitor_sees_every_landmark_while_it_looks_and_none_afterwards() -> None:
    seen: list[Landmark] = []
    passing(Landmark.UPLOAD)
    with watched_by(seen.append):
        passing(Landmark.MID_GATHER)
        passing(Landmark.MID_GATHER)
    passing(Landmark.AFTER_COMMIT)
    assert seen == [Landmark.MID_GATHER, Landmark.MID_GATHER]


def test_an_inner_visitor_gives_the_road_back() -> None:
    outer: list[Landmark] = []
    inner: list[Landmark] = []
    with watched_by(outer.append):
        with watched_by(inner.append):
            passing(Landmark.UPLOAD)
        passing(Landmark.SYNTHESIS)
    assert (outer, inner) == ([Landmark.SYNTHESIS], [Landmark.UPLOAD])
