-- Every example of the README runs as it stands, against the built-in server.
local mock = require "lmm.mock"
local shell = require "spec.support.shell"
local test = require "spec.support.test"

local quote = shell.quote
local here = shell.output "pwd":match "^[^\n]+"
local interpreter = arg[-1]
local folder = os.tmpname()
os.remove(folder)

--- Runs a script in a folder that holds picture.jpg, with `lmm` in the path; gives all that it printed.
local function run(script, url)
  local setup = ([[mkdir -p %s/bin && cd %s && cp %s/examples/picture.jpg . &&
    printf '#!/bin/sh\nexec %s %s/bin/lmm "$@"\n' >bin/lmm && chmod +x bin/lmm &&
    export PATH="$PWD/bin:$PATH" OPENAI_BASE_URL=%s && ]]):format(folder, folder, here, interpreter, here, url)
  return shell.output(setup .. "{ " .. script .. "\n} 2>&1; echo \"exit $?\"")
end

local server = assert(mock.start { delay = 0 })
local readme = shell.read "README.md"

-- Those for Neovim, "lua nvim", are run by nvim_plugin_spec.lua.
local count = 0
for heading, language, code in ("\n" .. readme):gmatch "```([%l ]*)()\n(.-)\n```" do
  local line = select(2, readme:sub(1, language):gsub("\n", ""))
  if heading == "lua" or heading == "sh" then
    count = count + 1
    test.case(heading .. " example at line " .. line, function()
      -- The examples that name the default address mean the server of this spec.
      local lua = quote(interpreter) .. " -e " .. quote((code:gsub("http://127%.0%.0%.1:8000/v1", server.url)))
      local text = run(heading == "lua" and lua or "set -e\n" .. code, server.url)
      test.match(text, "exit 0\n$")
      for expected in code:gmatch "%-%->%s*([^\n]+)" do
        local pattern = expected:gsub("%s+$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
        test.match(text:gsub("%s+", " "), (pattern:gsub("%s+", " ")))
      end
    end)
  end
end

test.case("the README has examples", function() test.ok(count >= 10, count .. " examples found") end)

server.stop()
os.execute("rm -rf " .. quote(folder))
