// The pages' date maths in JavaScript itself, to compare `dates.py` with (contract: frontend 2.4, 3, 5).
//
// Reads a JSON list of [function, arguments] from the standard input and writes the list of results. A browser's zone is
// the process's own, as `Date` sees it; what date-fns does is written out here by the rules of its documentation.
'use strict';

const MINUTE = 60e3;
const DAY = 24 * 60 * MINUTE;

const padded = (number, width) => String(number).padStart(width, '0');
const dateOf = date => `${padded(date.getFullYear(), 4)}-${padded(date.getMonth() + 1, 2)}-${padded(date.getDate(), 2)}`;

function inBrowserOf(zone, act) {
  process.env.TZ = zone;
  return act();
}

// The wall clock of a zone, as `utcToZonedTime` reads it, and the zone's offset as `xxx` writes it.
const FIELDS = ['year', 'month', 'day', 'hour', 'minute', 'second'];
const formats = {};
function formatOf(zone) {
  const options = { timeZone: zone, hourCycle: 'h23', timeZoneName: 'longOffset', fractionalSecondDigits: 3 };
  for (const name of FIELDS) options[name] = 'numeric';
  formats[zone] = formats[zone] || new Intl.DateTimeFormat('en-US', options);
  return formats[zone];
}

function wallClock(date, zone) {
  const found = {};
  for (const { type, value } of formatOf(zone).formatToParts(date)) found[type] = value;
  const offset = found.timeZoneName.replace('GMT', '') || '+00:00';
  const numbers = [...FIELDS, 'fractionalSecond'].map(name => Number(found[name]));
  return { numbers, offset };
}

// date-fns: both days begin at the browser's midnight, and a day with 23 or 25 hours is a day.
function differenceInCalendarDays(left, right) {
  const stamp = date => {
    const start = new Date(date);
    start.setHours(0, 0, 0, 0);
    return start.getTime() - start.getTimezoneOffset() * MINUTE;
  };
  return Math.round((stamp(left) - stamp(right)) / DAY);
}

// date-fns: the same day of an earlier month, or that month's last.
function subMonths(date, months) {
  const lastDay = new Date(date.getFullYear(), date.getMonth() - months + 1, 0).getDate();
  return new Date(date.getFullYear(), date.getMonth() - months, Math.min(date.getDate(), lastDay));
}

const functions = {
  // Milliseconds; null for an invalid date, and for a text that is another instant in another browser.
  instant(text) {
    const found = ['Pacific/Guam', 'America/Denver'].map(zone => inBrowserOf(zone, () => new Date(text).getTime()));
    return found[0] === found[1] ? found[0] : null;
  },

  in_zone_of_facility(start, zone) {
    const { numbers, offset } = wallClock(new Date(start), zone);
    const [year, month, day, hour, minute, second, millisecond] = numbers;
    const date = [padded(year, 4), padded(month, 2), padded(day, 2)].join('-');
    const time = [hour, minute, second].map(number => padded(number, 2)).join(':');
    return `${date}T${time}.${padded(millisecond, 3)}${offset}`;
  },

  is_past(start, station, kind, now, browserZone, stations) {
    if (!start) return false;
    const zone = stations[station] || stations[station.slice(0, 3)] || browserZone;
    const seconds = date => {
      const [year, month, day, hour, minute, second] = wallClock(date, zone).numbers;
      return Date.UTC(year, month - 1, day, hour, minute, second);
    };
    return seconds(new Date(start)) + (kind === 'telehealth' ? 240 : 60) * MINUTE < seconds(new Date(now));
  },

  days_since(localStart, now, browserZone) {
    return inBrowserOf(browserZone, () => differenceInCalendarDays(new Date(now), new Date(localStart)));
  },

  is_live_itf(expiration, now, browserZone) {
    return inBrowserOf(browserZone, () => {
      const [ends, today] = [new Date(expiration), new Date(now)];
      return today < ends || dateOf(today) === dateOf(ends);
    });
  },

  day_shown_by_r2(expiration, browserZone) {
    return inBrowserOf(browserZone, () => dateOf(new Date(new Date(expiration).getTime() + 60 * MINUTE)));
  },

  past_three_months(now, browserZone) {
    return inBrowserOf(browserZone, () => {
      const today = new Date(now);
      return [`${dateOf(subMonths(today, 3))}T00:00:00`, `${dateOf(today)}T23:59:59`];
    });
  },
};

let asked = '';
process.stdin.on('data', part => {
  asked += part;
});
process.stdin.on('end', () => {
  process.stdout.write(JSON.stringify(JSON.parse(asked).map(([name, values]) => functions[name](...values))));
});
