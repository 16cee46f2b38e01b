-- Every row of spec/exchange/rows.lua, asked for streamed and not, whole and byte by byte.
local cut_up = require "spec.support.cut_up"
local fake = require "spec.support.fake"
local check = require "spec.exchange.check"
local rows = require "spec.exchange.rows"

for _, method in ipairs { "chat", "stream" } do
  describe(method, function()
    for _, row in ipairs(rows) do
      if (row.only or method) == method then
        it(row[1], function()
          local sent = row[2]
          local chunked = { status = sent.status, headers = sent.headers, chunks = cut_up(sent.body) }
          for _, reply in ipairs { sent, chunked } do
            local client = fake.net({ reply }):connect { retry = false }
            assert.is_nil(check(client, row, method))
          end
        end)
      end
    end
  end)
end
