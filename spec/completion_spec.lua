-- What make install puts beside the command: completions, tried in real shells, and manual pages.
local cli = require "spec.support.cli"
local shell = require "spec.support.shell"

local base = shell.output "mktemp -d":match "%S+"
local quote = shell.quote
local program

setup(function()
  program = cli.new { XDG_CONFIG_HOME = base, HOME = base, TERM = "dumb" }
  shell.run("mkdir -p %s/lmm %s/bin %s/files", base, base, base)
  shell.write(base .. "/lmm/config.lua", [[return {
    servers = { gpu = { base_url = "http://127.0.0.1:9/v1" }, ["of a lab"] = { base_url = "http://127.0.0.1:9/v1" } },
    models = { fast = { server = "gpu" }, slow = { server = "gpu" } }, templates = { review = "Review {it}." } }]])
  shell.write(base .. "/files/picture.jpg", "")
  local here = shell.output "pwd":match "^[^\n]+"
  shell.write(base .. "/bin/lmm", ('#!/bin/sh\nexec %s %s "$@"\n'):format(quote(arg[-1]), quote(here .. "/bin/lmm")))
  shell.run("chmod +x %s/bin/lmm", base)
end)

teardown(function()
  program.remove()
  shell.run("rm -rf %s", base)
end)

local function has(name)
  return shell.output("command -v " .. name .. "; true") ~= ""
end

--- Runs a script of a shell in the folder with the picture; gives what it printed.
local function run(name, script)
  local file = shell.write(base .. "/script", script)
  local ended = program.shell(("export PATH=%s:$PATH; cd %s; %s %s </dev/null >$out 2>$err; echo $? >$status"):format(
    quote(base .. "/bin"), quote(base .. "/files"), name, file))
  assert.equal("", ended.err)
  return ended.out
end

--- A line up to where Tab is pressed, and what may stand there; nil where it is of no matter.
local rows = {
  ["the commands"] = { "lmm co", "completion config" },
  ["the commands behind help"] = { "lmm help b", "batch" },
  ["the commands behind manual"] = { "lmm manual co", "completion config" },
  ["the options of a command"] = { "lmm ask --te", "--template" },
  ["an option's second name"] = { "lmm batch --max-e", "--max-errors" },
  ["models by name"] = { "lmm ask -m ", "fast slow" },
  ["a server by name"] = { "lmm models --server g", "gpu" },
  ["templates by name"] = { "lmm ask --template ", "review" },
  ["dialects"] = { "lmm embed --dialect oll", "ollama" },
  ["words of an option"] = { "lmm config --list s", "servers" },
  ["servers that the mock is like"] = { "lmm mock --like oll", "ollama" },
  ["ways to show pictures"] = { "lmm chat --pictures si", "sixel" },
  ["all options of log"] = { "lmm log --js", "--json" },
  ["what follows log"] = { "lmm log p", "path prune" },
  ["what follows grid"] = { "lmm grid w", "watch" },
  ["paths where words may stand"] = { "lmm grid pic", "picture.jpg" },
  ["words and paths"] = { "lmm grid ", "picture.jpg serve watch" },
  ["a path behind ="] = { "lmm ask --image=pic", "picture.jpg" },
  ["shells"] = { "lmm completion f", "fish" },
  ["paths"] = { "lmm ask -i pic", "picture.jpg" },
  ["paths as arguments"] = { "lmm ask pic", "picture.jpg" },
}

--- What each shell offers, as words in order.
local shells = {
  bash = function(line)
    -- What readline does: the function is called, and where it gives nothing, paths are (-o default).
    return run("bash --norc --noprofile", ([=[
      . <(lmm completion bash)
      complete -p lmm | grep -q 'default.*-F _lmm lmm' || exit 1
      read -ra COMP_WORDS <<<%s # = is a word of its own
      case %s in *' ') COMP_WORDS+=("") ;; esac
      COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
      _lmm
      [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
      printf '%%s\n' "${COMPREPLY[@]}"
    ]=]):format(quote((line:gsub("=", " = "))), quote(line)))
  end,
  fish = function(line)
    return (run("fish --no-config", ("lmm completion fish | source\ncomplete -C %s"):format(quote(line)))
      :gsub("\t[^\n]*", ""))
  end,
  zsh = function(line)
    -- A zsh of its own at a terminal of its own, in which keys are pressed once its prompt is there.
    return run("zsh -f", ([=[
      zmodload zsh/zpty
      setopt extended_glob
      zpty z zsh -f -i
      zpty -w z 'unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source <(lmm completion zsh)'
      zpty -w z 'compadd() { local -a hits; builtin compadd -A hits "$@"; print -rl -- $hits >>../offered; '\
'builtin compadd "$@" }; LISTMAX=1000; PS1=rea"dy> "'
      zpty -r z seen '*ready> *'
      zpty -w -n z %s$'\t'$'\C-u'$'print -r done-"now"\n'
      zpty -r z seen '*done-now*'
      zpty -d z
      [[ $seen != *[a-z]:[0-9]##:* ]] || print -r -- $seen # what a function complains of
      cat ../offered; rm -f ../offered
    ]=]):format(quote(line)))
  end,
}

for name, offered in pairs(shells) do
  describe("in " .. name, function()
    for what, row in pairs(rows) do
      it("Tab completes " .. what, function()
        if not has(name) then pending("there is no " .. name) end
        local words, seen = {}, {}
        for word in offered(row[1]):gmatch "[^\n]+" do
          word = word:gsub("\\", ""):gsub("^%-%-%w+=", "")
          if not seen[word] and word ~= "of a lab" then words[#words + 1] = word end
          seen[word] = true
        end
        table.sort(words)
        assert.equal(row[2], table.concat(words, " "))
      end)
    end
  end)
end

describe("the manual", function()
  local folder = base .. "/man"

  it("has a page of each command, in which mandoc finds nothing", function()
    if not has "mandoc" then pending "there is no mandoc" end
    shell.run("mkdir -p %s", folder)
    cli.answered(program.run { "manual", "--into", folder })
    local list = cli.answered(program.run { "--help" }):match "Commands:\n(.-)\n\n"
    for command in ("\n" .. list):gmatch "\n   (%l+) " do
      if shell.read(folder .. "/lmm-" .. command .. ".1") == nil then error("there is no page of " .. command) end
    end
    assert.equal("", shell.output("mandoc -Tlint -Wstyle " .. folder .. "/*.1 2>&1; true"))
  end)

  it("says what the help says", function()
    local page = cli.answered(program.run { "manual", "ask" })
    for _, text in ipairs { "\n.SH NAME\nlmm\\-ask \\- Ask a question", "\n.SH SYNOPSIS\n.nf\nlmm ask [OPTION]...",
      "\n\\fB\\-m\\fR, \\fB\\-\\-model\\fR \\fINAME\\fR\nThe model to ask", "\n.SH EXAMPLES\n.RS 4\n.nf\nlmm ask \\-i",
      "'stop=[\"\\en\"]'" } do
      assert(page:find(text, 1, true), text)
    end
    assert.matches("SH ENVIRONMENT\n.-OPENAI_BASE_URL.-SH EXIT STATUS\n.-SH EXAMPLES\n", cli.answered(program.run {
      "manual" }))
    cli.complained(program.run { "manual", "asx" }, 2, "there is no command 'asx'")
    cli.complained(program.run { "manual", "--into", "/nowhere" }, 1, "cannot write /nowhere/lmm.1: No such file")
  end)
end)
