SELECT (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM event) AS events,
    page_count * page_size AS bytes, freelist_count * page_size AS free
FROM pragma_page_count, pragma_page_size, pragma_freelist_count
