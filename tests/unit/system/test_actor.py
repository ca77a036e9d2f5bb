"""Who asks is what the operating system says; what CI says is only a claim."""

import getpass
import grp
import os

from flowyml_policy.system.actor import current_actor


def test_actor_is_the_user_of_this_process() -> None:
    actor = current_actor({})

    assert actor.name == getpass.getuser()
    assert len(actor.groups) >= 1
    assert list(actor.groups) == sorted(actor.groups)
    assert actor.claimed == {}


def test_actor_user_variables_change_nothing() -> None:
    assert current_actor({"USER": "root2", "LOGNAME": "root2"}).name == current_actor({}).name


def test_actor_ci_variables_are_claims_and_masked() -> None:
    secret = "ghp_" + "A1b2" * 9

    actor = current_actor({"GITHUB_ACTOR": "octocat", "BUILD_TAG": secret, "HOME": "/home/x"})

    assert actor.claimed["github_actor"] == "octocat"
    assert secret not in str(actor.claimed)
    assert "home" not in actor.claimed


def test_actor_long_claim_is_cut() -> None:
    assert len(current_actor({"GITHUB_REF": "refs/" * 1000}).claimed["github_ref"]) == 256


def test_actor_groups_hold_the_effective_one() -> None:
    assert grp.getgrgid(os.getegid()).gr_name in current_actor({}).groups


def test_actor_claim_of_odd_bytes_is_escaped() -> None:
    assert current_actor({"GITHUB_REF": "ref\udcff"}).claimed == {"github_ref": "ref\\udcff"}
