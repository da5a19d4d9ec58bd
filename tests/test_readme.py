"""The example of README.md works: its first C block is compiled against the installed library and run, and must
print what the text block after it says."""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

SKIP = 77
ROOT = pathlib.Path(os.environ["WEFT_SOURCE_DIR"])


def blocks():
    """The first C block of README.md and the text block right after it, or None."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    found = re.search(r"^```c\n(.*?)^```\n(.*?)^```text\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return found and (found.group(1), found.group(3))


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    found = blocks()
    if not found:
        print("README.md has no C block that a text block follows")
        return SKIP
    code, expected = found
    with tempfile.TemporaryDirectory() as folder:
        prefix = pathlib.Path(folder, "prefix")
        run(os.environ["WEFT_CMAKE"], "--install", os.environ["WEFT_BINARY_DIR"], "--prefix", prefix)
        library = next(prefix.rglob("libweft.so")).parent
        environment = dict(os.environ, PKG_CONFIG_PATH=str(library / "pkgconfig"))
        flags = run("pkg-config", "--cflags", "--libs", "weft-net", env=environment).split()
        source, program = pathlib.Path(folder, "example.c"), pathlib.Path(folder, "example")
        source.write_text(code, encoding="utf-8")
        run(os.environ["WEFT_CC"], "-std=c17", "-Wall", "-Werror", *shlex.split(os.environ["WEFT_CFLAGS"]), source,
            "-o", program, *flags, f"-Wl,-rpath,{library}")
        printed = run(program, cwd=ROOT, timeout=60)
    if printed != expected:
        sys.exit(f"README.md promises:\n{expected}\nthe example prints:\n{printed}")
    print(f"{len(code.splitlines())} lines of C print what README.md says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
