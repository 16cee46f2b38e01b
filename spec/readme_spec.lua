-- Every example of the README runs as it stands, against the built-in server.
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

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

describe("the README", function()
  local server

  setup(function() server = assert(mock.start { delay = 0 }) end)

  teardown(function()
    server.stop()
    os.execute("rm -rf " .. quote(folder))
  end)

  -- Those for Neovim, "lua nvim", are run by nvim_plugin_spec.lua.
  local readme = shell.read "README.md"
  local count = 0
  for heading, language, code in ("\n" .. readme):gmatch "```([%l ]*)()\n(.-)\n```" do
    local line = select(2, readme:sub(1, language):gsub("\n", ""))
    if heading == "lua" or heading == "sh" then
      count = count + 1
      it(heading .. " example at line " .. line, function()
        -- The examples that name the default address mean the server of this spec.
        local lua = quote(interpreter) .. " -e " .. quote((code:gsub("http://127%.0%.0%.1:8000/v1", server.url)))
        local text = run(heading == "lua" and lua or "set -e\n" .. code, server.url)
        assert.matches("exit 0\n$", text)
        for expected in code:gmatch "%-%->%s*([^\n]+)" do
          local pattern = expected:gsub("%s+$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
            :gsub("%%%.%%%.%%%.", ".-")
          assert.matches((pattern:gsub("%s+", " ")), (text:gsub("%s+", " ")))
        end
      end)
    end
  end

  it("has examples", function() assert(count >= 10, count .. " examples found") end)
end)
