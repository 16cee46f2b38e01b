-- Every example of README.md and of the guides in doc runs as it stands, against the built-in server; their links lead
-- somewhere.
local guides = require "spec.support.guides"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local quote = shell.quote
local here = shell.output "pwd":match "^[^\n]+"
local interpreter = arg[-1]
local base = shell.output "mktemp -d":match "^[^\n]+"

-- Which blocks are run elsewhere, and where. Those without a language are for a root's shell, a terminal or another
-- machine.
local ELSEWHERE = {
  ["lua nvim"] = { "doc/neovim.md", "spec/nvim_setup_spec.lua" },
  nginx = { "doc/nginx.md", "spec/nginx_example_spec.lua" },
  [""] = {},
}

--- Runs a script in a folder that holds picture.jpg, with `lmm` in the path; gives all that it printed.
local function run(folder, script, url)
  local setup = ([[mkdir -p %s/bin && cd %s && cp %s/examples/picture.jpg . &&
    printf '#!/bin/sh\nexec %s %s/bin/lmm "$@"\n' >bin/lmm && chmod +x bin/lmm &&
    unset LMM_LOG XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME &&
    export HOME="$PWD" PATH="$PWD/bin:$PATH" OPENAI_BASE_URL=%s && ]]):format(folder, folder, here, interpreter, here,
    url)
  return shell.output(setup .. "{ " .. script .. "\n} 2>&1; echo \"exit $?\"")
end

--- What stands behind `-->` in an example as a pattern, `...` being anything.
local function pattern_of(expected)
  return (expected:gsub("%s+$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
    :gsub("%s+", " "))
end

local server
setup(function() server = assert(mock.start { delay = 0 }) end)
teardown(function()
  server.stop()
  os.execute("rm -rf " .. quote(base))
end)

for _, file in ipairs(guides.files()) do
  describe(file, function()
    -- The examples of a file share a folder, so that one may use what another wrote.
    local folder = base .. "/" .. file:match "([^/]+)%.md$"

    for _, block in ipairs(guides.blocks(file)) do
      local elsewhere = ELSEWHERE[block.language]
      local name = ("%s example at line %d"):format(block.language, block.line)
      if block.language == "lua" or block.language == "sh" then
        it(name, function()
          -- The examples that name the default address mean the server of this spec.
          local code = block.code:gsub("http://127%.0%.0%.1:8000/v1", server.url)
          local script = block.language == "lua" and quote(interpreter) .. " -e " .. quote(code) or "set -e\n" .. code
          local text = run(folder, script, server.url)
          assert.matches("exit 0\n$", text)
          for expected in block.code:gmatch "%-%->%s*([^\n]+)" do
            assert.matches(pattern_of(expected), (text:gsub("%s+", " ")))
          end
        end)
      elseif not elsewhere or elsewhere[1] and elsewhere[1] ~= file then
        it(name, function()
          error(elsewhere and ("%s runs those of %s alone"):format(elsewhere[2], elsewhere[1]) or "no spec runs these")
        end)
      end
    end

    it("leads somewhere by each link", function()
      for _, target in ipairs(guides.links(file)) do
        local path, anchor = target:match "^([^#]*)#?(.*)$"
        path = path == "" and file or (file:match "^.*/" or "") .. path
        assert(os.rename(path, path), file .. " leads to " .. target .. ", which is not there")
        assert(anchor == "" or guides.anchors(path)[anchor], file .. " leads to " .. target .. ": no such heading")
      end
    end)
  end)
end

it("each example has a word in a guide", function()
  local words = {}
  for _, file in ipairs(guides.files()) do
    for _, target in ipairs(guides.links(file)) do words[target:match "examples/.*$" or ""] = true end
  end
  for path in shell.output "find examples -type f ! -name '*.jpg'":gmatch "[^\n]+" do
    local at = path
    while at ~= "examples" and not words[at] do at = at:match "^(.*)/" end
    assert(words[at], path .. " is in no guide")
  end
end)

describe("README.md", function()
  it("leads to every guide", function()
    local led = {}
    for _, target in ipairs(guides.links "README.md") do led[target:match "^[^#]*"] = true end
    for _, target in ipairs(guides.links "doc/prototyping.md") do led["doc/" .. target:match "^[^#]*"] = true end
    for _, file in ipairs(guides.files()) do assert(file == "README.md" or led[file], "nothing leads to " .. file) end
  end)

  it("is short", function()
    local _, lines = shell.read "README.md":gsub("\n", "")
    assert(lines <= 150, lines .. " lines")
  end)
end)
