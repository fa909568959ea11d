-- Which rollups lie beside a file: 1 of minutes, 2 of hours, 4 of days.
ALTER TABLE point_file ADD COLUMN rollups BIGINT NOT NULL DEFAULT 0;
