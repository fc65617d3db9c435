-- What wrk sends: one request at a time on each connection, each with a number of its
-- own, so that the client's count is exact. It ends by itself, with nothing on its way.

local threads = {}

function setup(thread)
  thread:set("number", #threads + 1)
  table.insert(threads, thread)
end

function init(arguments)
  -- Each thread its own paths, the same in each run.
  math.randomseed(number)
  ends_at = os.time() + tonumber(arguments[1])
  -- wrk makes a first request of the first thread, only to look at it.
  sent = number == 1 and -1 or 0
  answered = 0
  statuses = {}
end

-- No HEAD: wrk waits for the body that its answer announces.
local kinds = {
  function() return "GET", "/hello/" .. math.random(1000) end,
  function() return "GET", "/hello/" .. math.random(1000) end,
  function() return "GET", "/hello/" .. math.random(1000) end,
  function() return "GET", "/stream/" .. math.random(20) end,
  function() return "GET", "/file" end,
  function() return "GET", "/fail" end,
  function() return "POST", "/hello/no" end,
  function() return "GET", string.format("/random/%x/%x", math.random(2 ^ 30), sent) end,
  function() return "GET", "/%ff%0a%22/<script>?q=" .. math.random(2 ^ 30) end,
}

function request()
  local method, path = kinds[math.random(#kinds)]()
  sent = sent + 1
  return wrk.format(method, path, {
    ["Host"] = "localhost",
    ["X-Request-ID"] = string.format("wrk-%d-%d", number, sent),
  })
end

function response(status)
  answered = answered + 1
  statuses[status] = (statuses[status] or 0) + 1
  if os.time() >= ends_at then
    wrk.thread:stop()
  end
end

function done(summary)
  local all_sent, all_answered, by_status = 0, 0, {}
  for _, thread in ipairs(threads) do
    all_sent = all_sent + thread:get("sent")
    all_answered = all_answered + thread:get("answered")
    for status, count in pairs(thread:get("statuses")) do
      by_status[status] = (by_status[status] or 0) + count
    end
  end
  io.write(string.format("sent %d\nanswered %d\n", all_sent, all_answered))
  for status, count in pairs(by_status) do
    io.write(string.format("status %d %d\n", status, count))
  end
  local errors = summary.errors
  io.write(string.format("errors %d\n",
    errors.connect + errors.read + errors.write + errors.timeout))
end
