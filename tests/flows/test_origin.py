import subprocess

from flows.origin import git_commit


def git(folder, *arguments):
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_is_the_one_that_git_names(tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    assert git_commit(one) == ""
    git(one, "init")
    assert git_commit(one) == "", "nothing is committed yet"
    git(one, "commit", "--allow-empty", "-m", "first")
    first = git(one, "rev-parse", "HEAD").strip()
    assert git_commit(one) == first
    git(one, "pack-refs", "--all")
    assert git_commit(one) == first
    git(one, "worktree", "add", "../two", "-b", "other")
    git(tmp_path / "two", "commit", "--allow-empty", "-m", "second")
    second = git(tmp_path / "two", "rev-parse", "HEAD").strip()
    assert (git_commit(tmp_path / "two"), git_commit(one)) == (second, first)
    git(one, "checkout", "--detach")
    assert git_commit(one) == first
